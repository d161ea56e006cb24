/* The Explorer's picture. Every choice (image, layer, class, method, colours, alpha) is a number
 * in the model; the maps lie in the model as bytes. So a moved slider is answered here, without
 * the kernel: values are upsampled, then coloured, then laid over the picture. */

const CHOICES = ["image", "layer", "rank", "method", "colormap", "alpha", "info", "message"];

/** One page of the atlas (its layout: Page.pack in atlas.py), or null while it is empty. */
export function unpack(data) {
  if (!data || data.byteLength < 4) return null;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const length = data.getUint32(0, true);
  const page = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const take = (count) => bytes.subarray(at, (at += count));
  const heat = (entry) => entry && { h: entry[0], w: entry[1], peak: entry[2], values: take(entry[0] * entry[1]) };
  const [H, W] = page.size;
  page.picture = take(H * W * 3);
  page.mask = page.mask ? take(H * W) : null;
  page.maps = new Map(
    page.classes.map((id, k) => {
      const { gradCam, cam, guided } = page.heats[k];
      const maps = { gradCam: gradCam.map(heat), cam: heat(cam), guided: heat(guided) };
      return [id, { score: page.scores[k], probability: page.probabilities[k], ...maps }];
    })
  );
  return page;
}

/** Bilinear, as torch's interpolate(align_corners=False): values (h, w) → Float32Array (H, W). */
export function upsample(values, h, w, H, W) {
  const taps = (size, from) =>
    Array.from({ length: size }, (_, i) => {
      const x = Math.max(0, ((i + 0.5) * from) / size - 0.5);
      const low = Math.min(Math.floor(x), from - 1);
      return [low, Math.min(low + 1, from - 1), x - low];
    });
  const columns = taps(W, w);
  const out = new Float32Array(H * W);
  taps(H, h).forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const upper = values[top * w + left] * (1 - across) + values[top * w + right] * across;
      const lower = values[bottom * w + left] * (1 - across) + values[bottom * w + right] * across;
      out[y * W + x] = upper * (1 - down) + lower * down;
    });
  });
  return out;
}

/** The map of a method: its values at the picture's size, from 0 to 1 = `peak` in raw units. */
export function heatOf(maps, method, layer, [H, W]) {
  const at = ({ values, h, w }) => upsample(values, h, w, H, W).map((v) => v / 255);
  if (method === "Grad-CAM") return { values: at(maps.gradCam[layer]), peak: maps.gradCam[layer].peak };
  if (method === "CAM") return { values: at(maps.cam), peak: maps.cam.peak };
  const what = at(maps.guided);
  if (method === "guided backprop") return { values: what, peak: maps.guided.peak };
  const product = at(maps.gradCam[layer]).map((v, i) => v * what[i]);
  const top = product.reduce((a, b) => Math.max(a, b), 0);
  const peak = top * maps.gradCam[layer].peak * maps.guided.peak;
  return { values: top > 0 ? product.map((v) => v / top) : product, peak };
}

/** Where in a table of 256 RGB colours a value from 0 to 1 stands: Matplotlib's rule. */
export const colourIndex = (value) => 3 * Math.min(255, Math.floor(value * 256));

/** (1 - alpha) · picture + alpha · colour, as RGBA. */
export function blend(picture, values, table, alpha) {
  const out = new Uint8ClampedArray(values.length * 4).fill(255);
  values.forEach((value, i) => {
    const colour = colourIndex(value);
    for (let c = 0; c < 3; c++) out[4 * i + c] = (1 - alpha) * picture[3 * i + c] + alpha * table[colour + c];
  });
  return out;
}

/** Three significant digits, as in Python's export. */
export function number(x) {
  const small = x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5);
  return small ? x.toExponential(2) : String(Number(x.toPrecision(3)));
}

/** What the picture shows, in a line. */
export function caption({ method, layer, name, score, scoreName, heat, width, mask }) {
  const layered = method.endsWith("Grad-CAM");
  const parts = [method, layered ? layer : "", name === scoreName ? "" : name, `${scoreName} ${number(score)}`];
  if (!(heat.peak > 0)) {
    const where = layered ? "at this layer " : method === "CAM" ? "in the last map " : "";
    parts.push(`blank: nothing ${where}speaks for this ${name === scoreName ? "output" : "class"}`);
    return parts.filter(Boolean).join(" · ");
  }
  let hottest = 0, all = 0, inside = 0;
  heat.values.forEach((value, i) => {
    if (value > heat.values[hottest]) hottest = i;
    all += value;
    if (mask && mask[i]) inside += value;
  });
  const [x, y] = [hottest % width, Math.floor(hottest / width)];
  parts.push(`hottest ${number(heat.values[hottest] * heat.peak)} at (${x}, ${y})`);
  if (mask && mask.includes(1)) parts.push(`${Math.round((100 * inside) / all)} % of the heat inside the outline`);
  return parts.filter(Boolean).join(" · ");
}

/** The border of a mask as an SVG path along the pixels' edges. */
export function outline(mask, W, H) {
  const is = (x, y) => x >= 0 && y >= 0 && x < W && y < H && mask[y * W + x] === 1;
  let path = "";
  for (let y = 0; y <= H; y++)
    for (let x = 0; x <= W; x++) {
      if (is(x, y) !== is(x, y - 1)) path += `M${x} ${y}h1`;
      if (is(x, y) !== is(x - 1, y)) path += `M${x} ${y}v1`;
    }
  return path;
}

const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Make an element, with its class, attributes and children. */
function make(tag, name = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  element.append(...children);
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  return element;
}

function render({ model, el }) {
  const canvas = make("canvas", "cw-canvas", { role: "img" });
  const shape = svg("svg", { class: "cw-outline", preserveAspectRatio: "none", "aria-hidden": "true" });
  const waiting = make("p", "cw-waiting", { hidden: "" }, "computing…");
  const pointer = make("p", "cw-pointer", { "aria-hidden": "true" });
  const [top, middle] = [make("span"), make("span")];
  const strip = make("canvas", "cw-strip", { width: 1, height: 256 });
  const scale = make("div", "cw-scale", { "aria-hidden": "true" }, strip, make("div", "cw-ticks", {}, top, middle, make("span", "", {}, "0")));
  const bars = make("div", "cw-bars", { role: "group", "aria-label": "classes" });
  const line = make("p", "cw-caption", { "aria-live": "polite" });
  const note = make("p", "cw-note");
  const alarm = make("p", "cw-alarm", { role: "alert" });
  const frame = make("div", "cw-frame", {}, canvas, shape, waiting);
  const root = make("div", "cw-view", {}, make("div", "cw-stage", {}, frame, scale, pointer), bars, make("div", "cw-words", {}, line, note, alarm));
  el.replaceChildren(root);

  const pages = new Map();
  let shown = null;

  function currentPage(image) {
    const data = model.get(`page_${image}`);
    if (pages.get(image)?.data !== data) pages.set(image, { data, page: unpack(data) });
    return pages.get(image).page;
  }

  function paint() {
    const info = model.get("info");
    const image = model.get("image");
    const page = currentPage(image);
    note.textContent = info.note;
    alarm.textContent = model.get("message");
    const classes = page ? [...page.top, ...info.extras] : [];
    const target = classes[model.get("rank")];
    const maps = page?.maps.get(target);
    waiting.hidden = Boolean(maps);
    root.dataset.state = maps ? "ready" : "waiting";
    if (!page) return;
    paintBars(page, classes, info);
    if (!maps) return;

    const [H, W] = page.size;
    const method = info.methods[model.get("method")];
    const table = decode(info.tables[model.get("colormap")]);
    const heat = heatOf(maps, method, model.get("layer"), page.size);
    if (canvas.width !== W || canvas.height !== H) Object.assign(canvas, { width: W, height: H });
    frame.style.setProperty("--cw-ratio", W / H);
    const pixels = blend(page.picture, heat.values, table, model.get("alpha"));
    canvas.getContext("2d").putImageData(new ImageData(pixels, W, H), 0, 0);

    const text = caption({
      method, heat, width: W, mask: page.mask, layer: info.layers[model.get("layer")],
      name: info.names[target], score: maps.score, scoreName: info.scoreName,
    });
    if (line.textContent !== text) line.textContent = text;
    canvas.setAttribute("aria-label", text);
    paintScale(table, heat.peak);
    if (shown?.page !== page) paintOutline(page);
    shown = { page, heat, W, H };
  }

  function paintScale(table, peak) {
    const steps = Float32Array.from({ length: 256 }, (_, i) => 1 - (i + 0.5) / 256);
    const pixels = blend(new Uint8Array(768), steps, table, 1);
    strip.getContext("2d").putImageData(new ImageData(pixels, 1, 256), 0, 0);
    top.textContent = peak > 0 ? number(peak) : "";
    middle.textContent = peak > 0 ? number(peak / 2) : "";
  }

  function paintOutline({ mask, size: [H, W] }) {
    shape.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const d = mask ? outline(mask, W, H) : "";
    shape.replaceChildren(...["cw-halo", "cw-edge"].map((name) => svg("path", { d, class: name })));
  }

  function paintBars(page, classes, info) {
    while (bars.children.length > classes.length) bars.lastChild.remove();
    while (bars.children.length < classes.length) {
      const rank = bars.children.length;
      const parts = [make("span", "cw-name"), make("span", "cw-track", {}, make("span", "cw-bar")), make("span", "cw-number")];
      const bar = make("button", "cw-class", { type: "button" }, ...parts);
      bar.addEventListener("click", () => choose("rank", rank));
      bars.append(bar);
    }
    classes.forEach((id, rank) => {
      const bar = bars.children[rank];
      const maps = page.maps.get(id);
      const p = maps?.probability ?? (info.scoreName === "probability" ? maps?.score : null);
      const [name, track, value] = bar.children;
      name.textContent = info.names[id];
      track.hidden = p === null;
      track.firstChild.style.width = `${100 * (p ?? 0)}%`;
      value.textContent = !maps ? "…" : p === null ? number(maps.score) : `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)} %`;
      bar.title = maps ? `${info.names[id]}: ${info.scoreName} ${number(maps.score)}` : info.names[id];
      bar.setAttribute("aria-pressed", String(rank === model.get("rank")));
    });
    bars.dataset.title = info.scoreName === "output" ? "output" : "probability";
    if (!info.few) sendLabels(classes.map((id) => info.names[id]));
  }

  /** Which classes the class slider offers depends on the image, where a model has very many. */
  function sendLabels(labels) {
    if (labels.join("\n") === model.get("labels").join("\n")) return;
    model.set("labels", labels);
    model.save_changes();
  }

  function choose(key, value) {
    model.set(key, value);
    model.save_changes();
  }

  /** ipywidgets' sliders carry no name for a screen reader: give each the words beside it. */
  function nameSliders() {
    root.closest(".cw-explorer")?.querySelectorAll(".widget-inline-hbox").forEach((box) => {
      const handle = box.querySelector(".noUi-handle");
      handle?.setAttribute("aria-label", box.querySelector(".widget-label")?.textContent ?? "");
      handle?.setAttribute("aria-valuetext", box.querySelector(".widget-readout")?.textContent ?? "");
    });
  }

  function readPointer(event) {
    if (!shown) return;
    const { heat, W, H } = shown;
    const box = canvas.getBoundingClientRect();
    const x = Math.min(W - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * W)));
    const y = Math.min(H - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * H)));
    pointer.textContent = `x ${x}, y ${y}: ${number(heat.values[y * W + x] * heat.peak)}`;
  }

  function safely(action) {
    try {
      action();
    } catch (error) {
      alarm.textContent = `The picture could not be drawn: ${error.message}`;
    }
  }

  let frameAsked = 0;
  const repaint = () => {
    cancelAnimationFrame(frameAsked);
    frameAsked = requestAnimationFrame(() => safely(paint));
  };
  const count = model.get("info").images;
  const events = [...CHOICES, ...Array.from({ length: count }, (_, k) => `page_${k}`)].map((key) => `change:${key}`);
  events.forEach((event) => model.on(event, repaint));
  canvas.addEventListener("pointermove", readPointer);
  canvas.addEventListener("pointerleave", () => (pointer.textContent = ""));
  bars.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && event.stopPropagation());
  // A cell that was scrolled out of sight may come back with an empty canvas.
  const controls = new MutationObserver(nameSliders);
  const sight = new IntersectionObserver(() => {
    const home = root.closest(".cw-explorer");
    if (home) controls.observe(home, { childList: true, subtree: true });
    nameSliders();
    repaint();
  });
  sight.observe(root);
  safely(paint);
  return () => {
    sight.disconnect();
    controls.disconnect();
    events.forEach((event) => model.off(event, repaint));
  };
}

export default { render };
