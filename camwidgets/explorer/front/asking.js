import { Painting } from "./brush.js";
import { button, make, newId, Segments, Slider, say } from "./dom.js";
import { Heats, keysOf } from "./heat.js";
import { Store, unpack } from "./parts.js";

const FILLS = ["gray", "blur", "around", "back"];
const PATIENCE = 1500;
const SIZES = 20;

/** Paint on the picture and see what the network says then. */
export class Asking {
  fill = "gray";
  size = 5;
  number = 0;
  /** tells its answers from those of other views and pages */
  id = newId("view");

  constructor(core, view) {
    this.core = core;
    this.view = view;
    const words = ["gray", "blur", "colour around", "paint back in"];
    this.fills = new Segments("paint with", words, (k) => {
      this.fill = FILLS[k];
      core.changed();
    });
    this.fills.root.classList.add("cw-wide");
    this.radius = new Slider("brush", (k) => {
      this.size = k + 1;
      core.changed();
    });
    this.undo = button("Undo", () => this.painting?.undo() && this.ask());
    this.clear = button("Clear", () => {
      if (!this.painting?.touched) return;
      this.painting.clear();
      this.ask();
    });
    this.status = make("p", "cw-status", { "aria-live": "polite" });
    const buttons = make("div", "cw-buttons", {}, this.undo, this.clear);
    this.root = make("div", "cw-panel cw-controls", { hidden: "" }, this.fills.root);
    this.root.append(this.radius.root, buttons, this.status);
    this.answered = (content, buffers) => this.take(content, buffers);
    core.answers.add(this.answered);
  }

  close() {
    clearTimeout(this.patience);
    this.core.answers.delete(this.answered);
  }

  get pixels() {
    const [H, W] = this.painting.size;
    return Math.max(1, ((this.size / SIZES) * Math.min(H, W)) / 2);
  }

  draw(shown, picture) {
    const { core, view } = this;
    const place = `${core.last.model_name}\n${core.last.image_index}`;
    if (this.picture !== picture) {
      this.picture = picture;
      this.painting = new Painting(picture.rgb, picture.size);
      this.forget();
    } else if (this.place !== place && this.painting.touched) this.ask();
    else if (this.store && this.lacking().some((key) => !this.asked.has(key))) this.ask();
    this.place = place;
    const { second } = view;
    second.brush = this.kernel ? this.brush() : null;
    this.fills.show(FILLS.indexOf(this.fill));
    this.radius.show(SIZES, this.size - 1, `${Math.round(2 * this.pixels)} pixels`);
    this.undo.setAttribute("aria-disabled", String(!this.painting.past.length));
    this.clear.setAttribute("aria-disabled", String(!this.painting.touched));
    if (!this.kernel) say(this.status, "Asking needs the kernel: open the notebook.");
    const painted = { ...picture, rgb: this.painting.rgb };
    const after = this.store
      ? view.state(core.last, this.store, this.heats, painted)
      : { ...shown, words: "", wait: null, rgb: painted.rgb };
    if (!this.store && this.painting.touched) after.field = null;
    if (!after.field) after.wait = null;
    second.draw(after);
    say(view.first.title, "before");
    const invitation = this.kernel ? "paint here" : "";
    say(view.second.title, this.painting.touched ? "after" : invitation);
    return after.words ? [shown.words, `after: ${after.words}`] : [shown.words];
  }

  get kernel() {
    return this.core.model.get("kernel") !== false;
  }

  brush() {
    const dab = (at) => {
      this.painting.dab(at, this.pixels, this.fill);
      this.last = at;
      this.core.changed();
    };
    return {
      start: (at) => {
        this.stroke = this.painting;
        this.painting.begin();
        this.forget();
        dab(at);
      },
      move: (at) => {
        if (this.stroke !== this.painting) return; // another picture came meanwhile
        const [x, y] = this.last ?? at;
        const steps = Math.ceil(Math.hypot(at[0] - x, at[1] - y) / Math.max(1, this.pixels / 2));
        for (let k = 1; k <= steps; k++) {
          dab([x + ((at[0] - x) * k) / steps, y + ((at[1] - y) * k) / steps]);
        }
      },
      end: () => this.stroke === this.painting && this.ask(),
    };
  }

  forget() {
    this.number += 1;
    this.store = null;
    this.heats = null;
    clearTimeout(this.patience);
    say(this.status, "Paint on the right picture, or move there by arrow keys and press Space.");
  }

  /** The keys of what is on the screen that no answer has brought. */
  lacking() {
    const keys = keysOf(this.core.which(this.core.last));
    return keys.filter((key) => !this.store?.get(key));
  }

  ask() {
    this.forget();
    const shown = this.lacking();
    const { core, painting } = this;
    core.changed();
    if (!painting.touched) return;
    say(this.status, "Asking the network …");
    this.asked = new Set(shown);
    const model = core.offer.models.indexOf(core.last.model_name);
    const { id, number } = this;
    const content = { ask: number, view: id, model, image: core.last.image_index, shown };
    core.send(content, [painting.rgb.slice().buffer]);
    this.patience = setTimeout(() => {
      say(this.status, "Waiting for the kernel: it is busy, or this page has none.");
    }, PATIENCE);
  }

  take(content, buffers) {
    if (content?.view !== this.id || content.answer !== this.number) return;
    clearTimeout(this.patience);
    if (content.error) {
      say(this.status, content.error);
      return;
    }
    const store = new Store();
    const heats = new Heats(store);
    for (const part of buffers.map(unpack)) {
      if (part) store.add({ ...part, key: part.key.replace("asked/", "") });
    }
    store.add({ ...this.picture, rgb: this.painting.rgb });
    Object.assign(this, { store, heats });
    say(this.status, "");
    this.core.changed();
  }
}
