/* The pure half of the front end against expected.json: what torch, Part.pack and display.py give
 * (tests/explorer/test_front.py writes and checks it). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { around, blurred, Painting } from "../../camwidgets/explorer/front/brush.js";
import { code } from "../../camwidgets/explorer/front/code.js";
import { Core, exists, settled } from "../../camwidgets/explorer/front/core.js";
import { Heats, upsample } from "../../camwidgets/explorer/front/heat.js";
import { number, percent } from "../../camwidgets/explorer/front/numbers.js";
import { box, decode, outline, paint } from "../../camwidgets/explorer/front/paint.js";
import { Store, unpack } from "../../camwidgets/explorer/front/parts.js";
import { caption, rectangleWords } from "../../camwidgets/explorer/front/words.js";

const expected = JSON.parse(readFileSync(new URL("expected.json", import.meta.url), "utf8"));

function near(found, wanted, tolerance) {
  assert.equal(found.length, wanted.length);
  wanted.forEach((value, i) => {
    assert.ok(Math.abs(found[i] - value) <= tolerance, `at ${i}: ${found[i]}, not ${value}`);
  });
}

/** Bytes with others in front of them, as a buffer shared with other messages has. */
function shifted(text) {
  const data = decode(text);
  const whole = new Uint8Array(data.length + 5);
  whole.set(data, 5);
  return new DataView(whole.buffer, 5);
}

function filled() {
  const store = new Store();
  for (const part of expected.parts) store.add(unpack(shifted(part)));
  return store;
}

test("upsample gives torch's numbers", () => {
  for (const { values, from, to, result } of expected.upsample) {
    near(upsample(values, from, to), result, 1e-3);
  }
});

test("upsample to the same size changes nothing", () => {
  assert.deepEqual([...upsample([1, 2, 3, 4, 5, 6], [2, 3], [2, 3])], [1, 2, 3, 4, 5, 6]);
});

test("numbers are written as in Python", () => {
  for (const [value, text] of expected.numbers) assert.equal(number(value), text);
});

test("every picture has the pixels, the scale, the box and the caption of Python", () => {
  const heats = new Heats(filled());
  for (const each of expected.pictures) {
    const { which, look, scale, layers, limit, pixels, mask, words, line, frame } = each;
    const picture = heats.store.get(`picture/${which.i}`);
    const field = heats.field(which);
    const top = heats.limit(which, scale, layers);
    assert.equal(top, limit, JSON.stringify(which));
    const table = decode(expected.tables[field.signed ? "RdBu_r" : look.colormap]);
    const out = new Uint8ClampedArray(picture.rgb.length * (4 / 3));
    paint(out, picture.rgb, field, top, { ...look, table });
    near(
      [...out].filter((_, k) => k % 4 < 3),
      [...decode(pixels)],
      1,
    );
    assert.ok(out.every((value, k) => k % 4 < 3 || value === 255));
    const bar = look.threshold * top;
    const shown = { ...words, field, bar, mask: mask ? picture.outline : null };
    assert.equal(caption(shown), line);
    assert.deepEqual(bar > 0 ? box(field, bar) : null, frame);
  }
});

test("all that Python packs is there, wherever it starts in its buffer", () => {
  const store = filled();
  assert.equal(store.parts.size, expected.parts.length);
  const scores = store.get("scores/0/0");
  assert.deepEqual([scores.classes, scores.scores, scores.shares], expected.scores);
});

test("a part that is not there, cut short or no part at all is null", () => {
  const whole = decode(expected.parts[0]);
  for (const broken of [undefined, null, new DataView(new ArrayBuffer(0)), "text", 7, {}]) {
    assert.equal(unpack(broken), null);
  }
  for (let k = 0; k < whole.length; k += 7) assert.equal(unpack(whole.slice(0, k)), null);
});

test("nothing raises: ten thousand random uploads and moves", () => {
  let seed = 1;
  const random = (n) => {
    seed = (seed * 48271) % 2147483647;
    return seed % n;
  };
  const store = filled();
  const heats = new Heats(store);
  const { which } = expected.pictures[0];
  const methods = [...new Set(expected.pictures.map((each) => each.which.method)), "none"];
  for (let round = 0; round < 10_000; round++) {
    const data = decode(expected.parts[random(expected.parts.length)]);
    for (let k = random(4); k > 0; k--) data[random(Math.min(data.length, 400))] = random(256);
    store.add(unpack(data.subarray(0, random(2) ? data.length : random(data.length))));
    const field = heats.field({
      m: random(2),
      i: random(2),
      c: random(4),
      layer: ["a", "b", "z"][random(3)],
      method: methods[random(methods.length)],
      signed: random(2) === 1,
    });
    const rgb = store.get(`picture/${which.i}`).rgb;
    const look = { alpha: random(101) / 100, threshold: random(11) / 10, opacity: "heat" };
    const table = decode(expected.tables.inferno);
    const limit = field ? [0, field.peak, 1e-30][random(3)] : 0;
    const out = new Uint8ClampedArray((rgb.length * 4) / 3);
    assert.ok(paint(out, rgb, field, limit, { ...look, table })[3] === 255);
  }
});

test("a blank map is called blank", () => {
  const field = { values: new Float32Array(4), size: [2, 2], top: 0, bottom: 0, peak: 0 };
  const rest = { model: "", score: 1, scoreName: "logit", name: "ring", mask: null, bar: 0, field };
  assert.equal(
    caption({ ...rest, method: "Grad-CAM", layer: "conv" }),
    "Grad-CAM · conv · ring · logit 1 · blank: nothing at this layer speaks for this class",
  );
});

test("the outline follows the edges of the mask's pixels", () => {
  assert.equal(outline([0, 0, 0, 1], 2, 2), "M1 1h1M1 2h1M1 1v1M2 1v1");
  assert.equal(outline([1, 1, 1, 1], 2, 2), "M0 0h2M0 2h2M0 0v2M2 0v2");
  assert.equal(outline([0, 0, 0, 0], 2, 2), "");
});

test("the code is what Python writes", () => {
  for (const { call, state, first, text } of expected.codes) {
    assert.equal(code(call, state, first), text);
  }
});

const offer = {
  models: ["A", "B"],
  images: 2,
  layers: { A: ["a", "b"], B: ["b", "z"] },
  methods: { A: ["Grad-CAM", "CAM"], B: ["Grad-CAM"] },
  classes: { A: 3, B: 2 },
  colormaps: ["inferno"],
};

test("a choice that does not exist is none", () => {
  const yes = [
    ["layer", "a"],
    ["target", 2],
    ["image_index", 1],
    ["alpha", 1],
    ["signed", true],
    ["other", {}],
    ["view", "ask"],
  ];
  const no = [
    ["layer", "z"],
    ["target", 3],
    ["target", 0.5],
    ["target", "1"],
    ["image_index", -1],
    ["alpha", 1.01],
    ["alpha", Number.NaN],
    ["signed", 1],
    ["other", null],
    ["other", []],
    ["view", "film"],
    ["model_name", "C"],
  ];
  for (const [key, value] of yes) assert.ok(exists(offer, "A", key, value), key);
  for (const [key, value] of no) assert.ok(!exists(offer, "A", key, value), `${key} ${value}`);
});

test("another model keeps what it has and settles the rest", () => {
  const choice = { model_name: "B", layer: "b", method: "CAM", target: 2 };
  assert.deepEqual(settled(offer, choice), { method: "Grad-CAM", target: 0 });
  assert.deepEqual(settled(offer, { ...choice, layer: "a" }).layer, "z");
});

/** A widget's model that knows only what it is told. */
function told(state, parts) {
  const values = { uid: "1", sent: parts.length, extras: [], other: {}, ...state };
  parts.forEach((part, k) => {
    values[`part_${k}`] = part;
  });
  const actions = new Map();
  return {
    get: (key) => values[key],
    on: (event, action) => actions.set(event, action),
    set: (key, value) => {
      if (values[key] === value) return;
      values[key] = value;
      actions.get(`change:${key}`)?.();
    },
  };
}

function scoresPart(i, classes, scores) {
  const header = { key: `scores/0/${i}`, classes, scores, shares: scores };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(4 + Math.ceil(text.length / 4) * 4).fill(32);
  padded.set(text, 4);
  new DataView(padded.buffer).setUint32(0, padded.length - 4, true);
  return padded;
}

test("of many classes another picture begins with its own top one", () => {
  const many = { ...offer, few: { A: false, B: true }, classes: { A: 30, B: 2 } };
  const parts = [scoresPart(0, [4, 5], [2, 1]), scoresPart(1, [7, 8], [1, 2])];
  const state = { offer: many, model_name: "A", image_index: 0, target: 4, extras: [9, 30] };
  const model = told(state, parts);
  const core = new Core(model);
  assert.deepEqual(core.classes("A", 0), [4, 5, 9]);
  model.set("image_index", 1);
  assert.equal(model.get("target"), 8);
});

test("maps are kept up to a number, and none beyond those that they were made of", () => {
  const heats = new Heats(filled());
  const { which } = expected.pictures[0];
  heats.kept = 2;
  const fields = ["a", "b", "a"].map((layer) => heats.field({ ...which, layer }));
  assert.equal(fields[0], fields[2]);
  heats.field({ ...which, layer: "a", signed: !which.signed });
  assert.equal(heats.fields.size, 2);
  assert.equal(heats.field({ ...which, layer: "a" }), fields[0]);
  heats.store.replaced();
  assert.equal(heats.fields.size + heats.peaks.size, 0);
});

test("a small share keeps a decimal", () => {
  const shares = [0, 0.0994, 0.0996, 1];
  assert.deepEqual(shares.map(percent), ["0.0 %", "9.9 %", "10 %", "100 %"]);
});

test("a rectangle of a picture that is not square", () => {
  const field = { values: new Float32Array(200).fill(1), size: [10, 20] };
  const words = (...edges) => rectangleWords(field, edges);
  assert.equal(words(0, 0, 10, 5), "rectangle 10 × 5: 25 % of the heat on 25 % of the picture");
  assert.match(words(0, 0, 3, 1), /on 2 % of/);
  assert.match(words(0, 0, 1, 1), /on less than 1 % of/);
});

test("a signed map that is nowhere negative speaks against nothing", () => {
  const values = new Float32Array([0, 1, 0, 0]);
  const field = { values, size: [2, 2], top: 1, bottom: 0, peak: 1, signed: true };
  const rest = { model: "", method: "CAM", layer: "", score: 1, scoreName: "logit", name: "ring" };
  const line = "CAM · ring · logit 1 · hottest 1 at (1, 0)";
  assert.equal(caption({ ...rest, field, mask: null, bar: 0 }), line);
});

test("blurring is the mean of the square, cut at the border", () => {
  const gray = (...values) => Uint8ClampedArray.from(values.flatMap((v) => [v, v, v]));
  assert.deepEqual(blurred(gray(0, 30, 60, 90), [1, 4], 1), gray(15, 30, 60, 75));
  assert.deepEqual(
    blurred(gray(0, 30, 60, 90, 120, 150), [3, 2], 1),
    gray(45, 45, 75, 75, 105, 105),
  );
});

test("the colour around a disc is that of what nobody painted", () => {
  const rgb = new Uint8ClampedArray(3 * 49).fill(10);
  const painted = new Uint8Array(49);
  for (let k = 0; k < 21; k++) {
    rgb.fill(200, 3 * k, 3 * k + 3);
    painted[k] = 1;
  }
  assert.deepEqual(around(rgb, painted, [7, 7], [3, 3], 1), [10, 10, 10]);
});

test("what was painted can be taken back", () => {
  const rgb = new Uint8ClampedArray(27).fill(7);
  const painting = new Painting(rgb, [3, 3]);
  painting.begin();
  painting.dab([1, 1], 1, "gray");
  assert.deepEqual([...painting.painted], [0, 1, 0, 1, 1, 1, 0, 1, 0]);
  painting.begin();
  painting.dab([1, 1], 0, "back");
  assert.deepEqual([painting.painted[4], painting.rgb[12]], [0, 7]);
  assert.ok(painting.undo());
  assert.deepEqual([painting.painted[4], painting.rgb[12]], [1, 128]);
  assert.ok(painting.undo());
  assert.deepEqual([painting.touched, [...painting.rgb]], [false, [...rgb]]);
  assert.ok(!painting.undo());
});
