import { range } from "./core.js";
import { make } from "./dom.js";
import { hasLayers } from "./heat.js";
import { paint } from "./paint.js";

const MOST = 6;

/** Every layer and the top classes of a picture at once; a click goes there. */
export class Overview {
  cells = new Map();

  constructor(core, onChoice) {
    this.core = core;
    this.onChoice = onChoice;
    this.root = make("div", "cw-overview", {
      role: "group",
      "aria-label": "all layers, top classes",
    });
  }

  /** The classes of the columns: the highest first, and the chosen one. */
  columns(choice) {
    const scores = this.core.scores(choice.model_name, choice.image_index);
    if (!scores) return [];
    const order = range(scores.classes.length).sort((a, b) => scores.scores[b] - scores.scores[a]);
    const best = order.slice(0, MOST).map((k) => scores.classes[k]);
    return best.includes(choice.target) ? best : [...best.slice(0, MOST - 1), choice.target];
  }

  draw(choice, picture, look) {
    const { offer } = this.core;
    const { model_name: name, method } = choice;
    const layers = hasLayers(method) ? offer.layers[name] : [choice.layer];
    const classes = this.columns(choice);
    const plan = JSON.stringify([layers, classes, name, method]);
    if (this.plan !== plan) this.build(layers, classes, choice);
    this.plan = plan;
    this.jobs = [...this.cells.values()];
    this.now = { choice, picture, look };
    this.work();
  }

  build(layers, classes, choice) {
    const { offer } = this.core;
    this.cells.clear();
    this.root.style.setProperty("--cw-columns", classes.length);
    const names = classes.map((c) => make("span", "cw-column", {}, this.name(choice, c)));
    const rows = layers.flatMap((layer) => [
      make("span", "cw-row", {}, hasLayers(choice.method) ? layer : ""),
      ...classes.map((c) => this.cell(layer, c, choice)),
    ]);
    const corner = make("span", "cw-row", {}, offer.models.length > 1 ? choice.model_name : "");
    for (const word of [corner, ...names, ...rows])
      if (word.tagName === "SPAN") word.title = word.textContent;
    this.root.replaceChildren(corner, ...names, ...rows);
  }

  name(choice, c) {
    return this.core.offer.names[choice.model_name][c];
  }

  cell(layer, c, choice) {
    const canvas = make("canvas");
    const where = hasLayers(choice.method) ? `${layer}, ` : "";
    const button = make("button", "cw-cell", { type: "button" }, canvas);
    button.setAttribute("aria-label", `${where}${this.name(choice, c)}`);
    button.addEventListener("click", () => this.onChoice({ layer, target: c }));
    this.cells.set(`${layer}\n${c}`, { button, canvas, layer, c });
    return button;
  }

  /** Paint as many cells as fit in a frame, the others in the next. */
  work() {
    const end = performance.now() + 12;
    while (this.jobs.length && performance.now() < end) this.paint(this.jobs.shift());
    if (this.jobs.length) this.later ??= requestAnimationFrame(() => this.again());
  }

  again() {
    this.later = null;
    if (this.root.isConnected) this.work();
  }

  paint({ button, canvas, layer, c }) {
    const { choice, picture, look } = this.now;
    const { heats, offer } = this.core;
    const [H, W] = picture.size;
    const which = this.core.which({ ...choice, target: c, layer });
    const field = heats.field(which);
    const table = this.core.tableOf(field, choice);
    const limit = heats.limit(which, choice.scale, offer.layers[choice.model_name]);
    if (canvas.width !== W || canvas.height !== H) Object.assign(canvas, { width: W, height: H });
    const image = new ImageData(W, H);
    paint(image.data, picture.rgb, field, limit, { ...look, table });
    canvas.getContext("2d").putImageData(image, 0, 0);
    button.classList.toggle("cw-absent", !field);
    const here = layer === choice.layer && c === choice.target;
    if (here) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}
