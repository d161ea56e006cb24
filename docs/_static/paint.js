/* Paint on a cell; the network answers here: scores, their softmax, and the CAM of a class. */
import * as ort from "./onnx/ort.wasm.min.mjs";

const SIZE = 64;
const root = document.getElementById("paint");
const data = JSON.parse(document.getElementById("paint-data").textContent);
const state = { cell: "ring", brush: "stain", radius: 3, target: 1, heat: true, at: [32, 32] };
let session, pixels, answer, busy = false, again = false;

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

function choices(title, key, options, action) {
  const box = make("fieldset", {}, make("legend", {}, title));
  for (const option of options) {
    const input = make("input", { type: "radio", name: key, value: option });
    input.checked = state[key] === option;
    input.addEventListener("change", () => { state[key] = option; action?.(); });
    box.append(make("label", {}, input, ` ${option}`));
  }
  return box;
}

const canvas = make("canvas", { width: SIZE, height: SIZE, tabindex: 0, role: "img",
  "aria-label": "The cell: drag to paint; with the keyboard, arrows move the brush and space paints" });
const view = canvas.getContext("2d");
const bars = make("div", { role: "group", "aria-label": "Probabilities; choose a class for the map" });
const line = make("p", { role: "status" });

async function load() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./onnx/", import.meta.url).href;
  const network = new URL("./onnx/gap.onnx", import.meta.url).href;
  session = await ort.InferenceSession.create(network);
  const heat = make("input", { type: "checkbox" });
  heat.checked = true;
  heat.addEventListener("change", () => { state.heat = heat.checked; draw(); });
  const again = make("button", { type: "button" }, "The cell as it was");
  again.addEventListener("click", fresh);
  root.replaceChildren(
    make("div", {}, canvas, line),
    make("div", {},
      choices("Cell", "cell", Object.keys(data.cells), fresh),
      choices("Brush", "brush", Object.keys(data.colours)),
      make("fieldset", {}, make("legend", {}, "Picture"),
        make("label", {}, heat, " map over the cell"), again),
      bars),
  );
  for (const [k, name] of data.classes.entries()) {
    const bar = make("button", { type: "button", class: "share" },
      name, make("span", {}, make("i")), make("output"));
    bar.addEventListener("click", () => { state.target = k; draw(); });
    bars.append(bar);
  }
  await fresh();
  root.dataset.state = "ready";
}

async function fresh() {
  const picture = new Image();
  picture.src = `data:image/png;base64,${data.cells[state.cell]}`;
  await picture.decode();
  const copy = make("canvas", { width: SIZE, height: SIZE }).getContext("2d");
  copy.drawImage(picture, 0, 0);
  pixels = copy.getImageData(0, 0, SIZE, SIZE);
  state.target = data.classes.indexOf(state.cell);
  await ask();
}

/** One run at a time; what was painted meanwhile is asked right after. */
async function ask() {
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    const values = new Float32Array(3 * SIZE * SIZE);
    for (let k = 0; k < SIZE * SIZE; k++)
      for (let c = 0; c < 3; c++) values[c * SIZE * SIZE + k] = pixels.data[4 * k + c] / 255;
    const image = new ort.Tensor("float32", values, [1, 3, SIZE, SIZE]);
    const { scores, maps } = await session.run({ image });
    const top = Math.max(...scores.data);
    const powers = Array.from(scores.data, (y) => Math.exp(y - top));
    const sum = powers.reduce((a, b) => a + b);
    answer = { scores: Array.from(scores.data), shares: powers.map((p) => p / sum),
      maps: maps.data, side: maps.dims[3] };
    draw();
  } while (again);
  busy = false;
}

/** The value of a map at a pixel, bilinear between the centres of its positions. */
function valueAt(map, side, x, y) {
  const place = (p) => Math.min(Math.max(((p + 0.5) * side) / SIZE - 0.5, 0), side - 1);
  const [u, v] = [place(x), place(y)];
  const [i, j] = [Math.floor(u), Math.floor(v)];
  const [i1, j1] = [Math.min(i + 1, side - 1), Math.min(j + 1, side - 1)];
  const row = (r) => map[r * side + i] * (1 - u + i) + map[r * side + i1] * (u - i);
  return row(j) * (1 - v + j) + row(j1) * (v - j);
}

function draw() {
  const { scores, shares, maps, side } = answer;
  const map = maps.subarray(state.target * side * side, (state.target + 1) * side * side);
  const most = maps.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1;
  const shown = new ImageData(new Uint8ClampedArray(pixels.data), SIZE, SIZE);
  for (let k = 0; state.heat && k < SIZE * SIZE; k++) {
    const heat = valueAt(map, side, k % SIZE, Math.floor(k / SIZE)) / most;
    const alpha = 0.75 * Math.min(1, Math.abs(heat) * 1.5);
    const colour = 3 * Math.round(127.5 + 127.5 * heat);
    for (let c = 0; c < 3; c++)
      shown.data[4 * k + c] += alpha * (data.table[colour + c] - shown.data[4 * k + c]);
  }
  view.putImageData(shown, 0, 0);
  if (document.activeElement === canvas) {
    view.strokeStyle = "#000";
    view.strokeRect(state.at[0] - state.radius, state.at[1] - state.radius,
      2 * state.radius, 2 * state.radius);
  }
  for (const [k, bar] of [...bars.children].entries()) {
    bar.setAttribute("aria-pressed", k === state.target);
    bar.querySelector("i").style.width = `${100 * shares[k]}%`;
    bar.querySelector("output").textContent = `${Math.round(100 * shares[k])} %`;
  }
  const best = scores.indexOf(Math.max(...scores));
  line.textContent = `The network says ${data.classes[best]} (${Math.round(100 * shares[best])} %). `
    + `Map: CAM of ${data.classes[state.target]}, logit ${scores[state.target].toFixed(1)}.`;
  root.dataset.scores = JSON.stringify(scores);
}

function paint(x, y) {
  const colour = data.colours[state.brush];
  for (let v = y - state.radius; v <= y + state.radius; v++)
    for (let u = x - state.radius; u <= x + state.radius; u++) {
      const inside = (u - x) ** 2 + (v - y) ** 2 <= state.radius ** 2;
      if (inside && u >= 0 && v >= 0 && u < SIZE && v < SIZE)
        pixels.data.set(colour, 4 * (v * SIZE + u));
    }
  ask();
}

function pointed(event) {
  const box = canvas.getBoundingClientRect();
  const scale = SIZE / box.width;
  state.at = [event.clientX - box.left, event.clientY - box.top].map((p) => Math.floor(p * scale));
  paint(...state.at);
}
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointed(event);
});
canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) pointed(event); });
canvas.addEventListener("focus", () => answer && draw());
canvas.addEventListener("blur", () => answer && draw());
const STEPS = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2] };
canvas.addEventListener("keydown", (event) => {
  if (STEPS[event.key]) state.at = state.at.map((p, k) =>
    Math.min(Math.max(p + STEPS[event.key][k], 0), SIZE - 1));
  else if (event.key === " ") paint(...state.at);
  else return;
  event.preventDefault();
  draw();
});

load().catch((error) => {
  root.dataset.state = "failed";
  root.replaceChildren(make("p", { role: "alert" }, `The network could not be started: ${error.message}`));
});
