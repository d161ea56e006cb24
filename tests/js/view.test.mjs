/* The pure half of view.js against expected.json, which holds what torch's interpolate,
 * camwidgets.overlay, Page.pack and export.caption give (tests/test_explorer.py keeps it true). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const source = Buffer.from(read("../../camwidgets/explorer/view.js")).toString("base64");
const view = await import(`data:text/javascript;base64,${source}`);
const expected = JSON.parse(read("expected.json"));
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64"));

function near(found, wanted, tolerance) {
  assert.equal(found.length, wanted.length);
  wanted.forEach((value, i) => {
    assert.ok(Math.abs(found[i] - value) <= tolerance, `at ${i}: ${found[i]}, not ${value}`);
  });
}

test("upsample gives torch's numbers", () => {
  for (const { values, from, to, result } of expected.upsample) {
    near(view.upsample(values, ...from, ...to), result, 1e-3);
  }
});

test("upsample to the same size changes nothing", () => {
  assert.deepEqual([...view.upsample([1, 2, 3, 4, 5, 6], 2, 3, 2, 3)], [1, 2, 3, 4, 5, 6]);
});

test("a value finds its colour as in Matplotlib", () => {
  const places = [0, 0.0039, 0.004, 0.5, 0.999, 1].map((v) => view.colourIndex(v) / 3);
  assert.deepEqual(places, [0, 0, 1, 128, 255, 255]);
});

test("the tables run from the first to the last colour", () => {
  for (const { table, ends } of expected.tables) {
    const all = bytes(table);
    assert.equal(all.length, 768);
    assert.deepEqual([...all.subarray(0, 3), ...all.subarray(-3)], ends);
  }
});

test("blend gives the bytes of camwidgets.overlay", () => {
  const { picture, heat, size, table, overlays } = expected.blend;
  for (const { alpha, result } of overlays) {
    const top = Math.max(...heat);
    const values = view.upsample(heat, 2, 3, ...size).map((v) => v / top);
    const rgba = [...view.blend(bytes(picture), values, bytes(table), alpha)];
    near(rgba.filter((_, i) => i % 4 < 3), [...bytes(result)], 1);
    assert.ok(rgba.filter((_, i) => i % 4 === 3).every((opacity) => opacity === 255));
  }
});

test("alpha 0 is the picture, alpha 1 the colours", () => {
  const table = bytes(expected.tables[0].table);
  const picture = [10, 20, 30];
  assert.deepEqual([...view.blend(picture, [1], table, 0)], [10, 20, 30, 255]);
  assert.deepEqual([...view.blend(picture, [1], table, 1)], [...table.subarray(-3), 255]);
});

/** A packed page with bytes in front of it, as a buffer shared with other messages has. */
function packed() {
  const data = bytes(expected.page.packed);
  const shifted = new Uint8Array(data.length + 5);
  shifted.set(data, 5);
  return new DataView(shifted.buffer, 5);
}

test("a page is unpacked wherever it starts in its buffer", () => {
  const page = view.unpack(packed());
  assert.deepEqual([...page.picture.subarray(0, 6)], expected.page.picture);
  assert.equal(page.maps.size, expected.page.classes);
  assert.equal(page.mask.length, page.size[0] * page.size[1]);
});

test("a page that is not there yet is null", () => {
  assert.equal(view.unpack(undefined), null);
  assert.equal(view.unpack(new DataView(new ArrayBuffer(0))), null);
});

test("every method's map and caption are those of Python", () => {
  const page = view.unpack(packed());
  for (const { method, layer, target, peak, line } of expected.page.shown) {
    const maps = page.maps.get(target);
    const heat = view.heatOf(maps, method, layer, page.size);
    assert.ok(Math.abs(heat.peak - peak) <= 2e-3 * peak, `${method}: ${heat.peak}, not ${peak}`);
    const words = { method, heat, width: page.size[1], mask: page.mask, score: maps.score };
    const names = { layer: expected.page.layers[layer], name: `class ${target}`, scoreName: "logit" };
    assert.equal(view.caption({ ...words, ...names }), line);
  }
});

test("numbers are written as in Python", () => {
  for (const [value, text] of expected.numbers) assert.equal(view.number(value), text);
});

test("a blank map is called blank", () => {
  const heat = { values: new Float32Array(4), peak: 0 };
  const rest = { score: 1, scoreName: "logit", name: "ring", width: 2, mask: null, heat };
  assert.equal(
    view.caption({ ...rest, method: "Grad-CAM", layer: "conv" }),
    "Grad-CAM · conv · ring · logit 1 · blank: nothing at this layer speaks for this class"
  );
});

test("the outline follows the edges of the mask's pixels", () => {
  assert.equal(view.outline([0, 0, 0, 1], 2, 2).match(/M/g).length, 4);
  assert.equal(view.outline([1, 1, 1, 1], 2, 2).match(/M/g).length, 8);
  assert.equal(view.outline([0, 0, 0, 0], 2, 2), "");
});
