import { make, say, svg } from "./dom.js";
import { number } from "./numbers.js";
import { box, outline, paint } from "./paint.js";
import { pointWords, rectangleWords } from "./words.js";

const STEPS = 256;

/** A picture with its map, outline, box, colour bar and read-out. */
export class Pane {
  shown = null;
  cursor = null;
  rectangle = null;
  /** where pointer strokes go instead of drawing a rectangle */
  brush = null;

  constructor(name) {
    this.name = name;
    this.canvas = make("canvas", "cw-canvas", { role: "img", "aria-label": name });
    this.marks = svg("svg", { class: "cw-marks", preserveAspectRatio: "none" });
    this.marks.setAttribute("aria-hidden", "true");
    const twice = (shape) => ["cw-halo", "cw-edge"].map((c) => svg(shape, { class: c }));
    this.edges = twice("path");
    this.boxes = twice("path");
    this.areas = twice("path");
    this.crosses = twice("path");
    for (const path of this.boxes) path.classList.add("cw-box");
    this.marks.append(...this.edges, ...this.boxes, ...this.areas, ...this.crosses);
    this.waiting = make("p", "cw-waiting", { hidden: "" });
    const help = `${name}: arrow keys read values, Space marks a corner of a rectangle`;
    this.frame = make("div", "cw-frame", { tabindex: 0, role: "group", "aria-label": help });
    this.frame.append(this.canvas, this.marks, this.waiting);
    this.strip = make("canvas", "cw-strip", { width: 1, height: STEPS });
    this.ticks = [make("span"), make("span"), make("span")];
    this.scale = make("div", "cw-scale", { "aria-hidden": "true" }, this.strip);
    this.scale.append(make("div", "cw-ticks", {}, ...this.ticks));
    this.pointer = make("p", "cw-pointer");
    this.title = make("p", "cw-title");
    this.root = make("div", "cw-pane", {}, this.title, this.frame, this.scale, this.pointer);
    this.listen();
  }

  /**
   * state: { size, rgb, outline (mask or null), field (or null), limit, look, words, wait }
   */
  draw(state) {
    const [H, W] = state.size;
    const { canvas } = this;
    if (canvas.width !== W || canvas.height !== H || !this.image) {
      canvas.width = W;
      canvas.height = H;
      this.image = new ImageData(W, H);
      this.marks.setAttribute("viewBox", `0 0 ${W} ${H}`);
      this.leave();
      this.frame.style.setProperty("--cw-ratio", W / H);
    }
    paint(this.image.data, state.rgb, state.field, state.limit, state.look);
    canvas.getContext("2d").putImageData(this.image, 0, 0);
    const label = state.words || this.name;
    if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
    this.waiting.hidden = !state.wait;
    say(this.waiting, state.wait ?? "");
    const before = this.shown;
    this.shown = state;
    if (before?.outline !== state.outline || before?.size !== state.size) {
      draw(this.edges, state.outline ? outline(state.outline, W, H) : "");
    }
    const bar = state.look.threshold * state.limit;
    if (before?.field !== state.field || this.bar !== bar) {
      const found = state.field && !state.field.planes && bar > 0 ? box(state.field, bar) : null;
      this.boxPath = found ? rectanglePath(found) : "";
      draw(this.boxes, this.boxPath);
      this.bar = bar;
    }
    if (before?.field !== state.field || before?.limit !== state.limit) this.read();
    this.drawScale(state);
  }

  /** Show that there is no picture, and why if there are words for it. */
  empty(words) {
    const { canvas } = this;
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-label", this.name);
    this.shown = null;
    this.boxPath = "";
    for (const paths of [this.edges, this.boxes]) draw(paths, "");
    for (const tick of this.ticks) say(tick, "");
    this.leave();
    this.read();
    this.waiting.hidden = !words;
    say(this.waiting, words);
  }

  /** Forget what was pointed at: another picture has other places. */
  leave() {
    this.cursor = null;
    this.corner = null;
    this.mark(null);
    this.showCross(false);
  }

  /** Let another image of the same size show on the right of a share of the width. */
  wipe(image, share) {
    const [H, W] = this.shown.size;
    const from = Math.round(share * W);
    const pen = this.canvas.getContext("2d");
    if (from < W) pen.putImageData(image, 0, 0, from, 0, W - from, H);
  }

  drawScale({ field, limit, look }) {
    const signed = field?.signed ?? false;
    const shades = field?.planes ? null : look.table;
    if (this.shades !== shades || !this.scaled) {
      const image = new ImageData(1, STEPS);
      for (let k = 0; k < STEPS; k++) {
        const place = STEPS - 1 - k;
        for (let c = 0; c < 3; c++) image.data[4 * k + c] = shades ? shades[3 * place + c] : place;
        image.data[4 * k + 3] = 255;
      }
      this.strip.getContext("2d").putImageData(image, 0, 0);
      this.shades = shades;
      this.scaled = true;
    }
    const numbers = signed ? [limit, 0, -limit] : [limit, limit / 2, 0];
    this.ticks.forEach((tick, k) => {
      say(tick, limit > 0 || numbers[k] === 0 ? number(numbers[k]) : "");
    });
  }

  /** The pixel under a pointer. */
  at(event) {
    const [H, W] = this.shown.size;
    const place = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - place.left) / place.width) * W);
    const y = Math.floor(((event.clientY - place.top) / place.height) * H);
    return [Math.max(0, Math.min(W - 1, x)), Math.max(0, Math.min(H - 1, y))];
  }

  listen() {
    const { frame } = this;
    let from = null;
    let moved = false;
    frame.addEventListener("pointerdown", (event) => {
      if (!this.shown || event.button > 0) return;
      capture(frame, event.pointerId);
      from = this.at(event);
      moved = false;
      this.cursor = from;
      if (this.brush) this.brush.start(from);
      else this.mark(null);
      this.read();
    });
    frame.addEventListener("pointermove", (event) => {
      if (!this.shown) return;
      const to = this.at(event);
      this.cursor = to;
      if (from && this.brush) this.brush.move(to);
      else if (from && (moved || distance(from, to) > 1)) {
        moved = true;
        this.mark(between(from, to));
      }
      this.read();
    });
    const end = () => {
      if (from && this.brush) this.brush.end();
      from = null;
    };
    frame.addEventListener("pointerup", end);
    frame.addEventListener("pointercancel", end);
    frame.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "mouse" || document.activeElement === frame) return;
      this.cursor = null;
      this.read();
    });
    frame.addEventListener("blur", () => {
      this.corner = null;
      this.showCross(false);
      this.pointer.removeAttribute("aria-live");
    });
  }

  key(event) {
    if (!this.shown) return;
    const [H, W] = this.shown.size;
    const arrow = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    }[event.key];
    if (arrow) {
      const step = event.shiftKey ? 10 : 1;
      const [x, y] = this.cursor ?? [W >> 1, H >> 1];
      this.cursor = [
        Math.max(0, Math.min(W - 1, x + step * arrow[0])),
        Math.max(0, Math.min(H - 1, y + step * arrow[1])),
      ];
      if (this.corner) this.mark(between(this.corner, this.cursor));
    } else if (event.key === " " || event.key === "Enter") {
      this.cursor ??= [W >> 1, H >> 1];
      if (this.brush) {
        this.brush.start(this.cursor);
        this.brush.end();
      } else if (this.corner) this.corner = null;
      else {
        this.corner = this.cursor;
        this.mark(between(this.corner, this.cursor));
      }
    } else if (event.key === "Escape") {
      this.corner = null;
      this.mark(null);
    } else return;
    event.preventDefault();
    this.pointer.setAttribute("aria-live", "polite");
    this.showCross(true);
    this.read();
  }

  showCross(on) {
    const [x, y] = this.cursor ?? [0, 0];
    draw(this.crosses, on ? `M${x - 2.5} ${y + 0.5}h6M${x + 0.5} ${y - 2.5}v6` : "");
  }

  /** Draw the rectangle that is asked about; null takes it away. */
  mark(rectangle) {
    this.rectangle = rectangle;
    draw(this.areas, rectangle ? rectanglePath(rectangle) : "");
  }

  /** Say what is under the pointer and in the rectangle. */
  read() {
    const { field, limit } = this.shown ?? {};
    const words = [];
    if (field && this.cursor) words.push(pointWords(field, ...this.cursor, limit));
    if (field && this.rectangle) words.push(rectangleWords(field, this.rectangle));
    say(this.pointer, words.join(" · "));
  }
}

/** Follow a pointer out of the picture; one that is gone already needs no following. */
function capture(element, pointer) {
  try {
    element.setPointerCapture(pointer);
  } catch {
    // gone
  }
}

function draw(paths, d) {
  for (const path of paths) if (path.getAttribute("d") !== d) path.setAttribute("d", d);
}

const rectanglePath = ([left, top, right, bottom]) => `M${left} ${top}H${right}V${bottom}H${left}Z`;

const distance = (a, b) => Math.max(Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]));

const between = (a, b) => [
  Math.min(a[0], b[0]),
  Math.min(a[1], b[1]),
  Math.max(a[0], b[0]) + 1,
  Math.max(a[1], b[1]) + 1,
];
