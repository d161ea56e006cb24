/* What all views of one Explorer share: the parts that have arrived, and a choice that is always
 * one that exists. */
import { Heats, keysOf } from "./heat.js";
import { decode } from "./paint.js";
import { Store, unpack } from "./parts.js";

const LISTS = {
  colormap: (offer) => offer.colormaps,
  opacity: () => ["heat", "constant"],
  scale: () => ["own", "all"],
  view: () => ["one", "compare", "overview", "ask"],
  model_name: (offer) => offer.models,
  layer: (offer, model) => offer.layers[model],
  method: (offer, model) => offer.methods[model],
};
const COUNTS = {
  target: (offer, model) => offer.classes[model],
  image_index: (offer) => offer.images,
};
const SHARES = ["alpha", "threshold"];
const SWITCHES = ["signed", "outline"];
export const CHOICES = [
  "model_name",
  "image_index",
  "layer",
  "target",
  "method",
  ...SHARES,
  ...SWITCHES,
  "colormap",
  "opacity",
  "scale",
  "view",
  "other",
];

/** Whether there is such a choice. */
export function exists(offer, model, key, value) {
  if (key in LISTS) return LISTS[key](offer, model)?.includes(value) ?? false;
  if (key in COUNTS) {
    return Number.isInteger(value) && value >= 0 && value < COUNTS[key](offer, model);
  }
  if (SHARES.includes(key)) return typeof value === "number" && value >= 0 && value <= 1;
  if (SWITCHES.includes(key)) return typeof value === "boolean";
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** The choices that have to follow when the model is another one: what it has not. */
export function settled(offer, choice) {
  const { model_name: model } = choice;
  const changes = {};
  if (!exists(offer, model, "layer", choice.layer)) changes.layer = offer.layers[model].at(-1);
  if (!exists(offer, model, "method", choice.method)) changes.method = offer.methods[model][0];
  if (!exists(offer, model, "target", choice.target)) changes.target = 0;
  return changes;
}

const cores = new Map();

/** The core of an Explorer; made by the first that asks. */
export function coreOf(model) {
  const id = model.get("uid");
  if (!cores.has(id)) cores.set(id, new Core(model));
  return cores.get(id);
}

export class Core {
  store = new Store();
  heats = new Heats(this.store);
  listeners = new Set();
  answers = new Set();
  tables = new Map();
  received = 0;

  constructor(model) {
    this.model = model;
    this.offer = model.get("offer");
    this.last = Object.fromEntries(CHOICES.map((key) => [key, model.get(key)]));
    this.take();
    this.on = [
      ["change", () => this.take()],
      ["msg:custom", (content, buffers) => this.answered(content, buffers)],
      ...CHOICES.map((key) => [`change:${key}`, () => this.chosen(key)]),
      ...["message", "progress", "extras"].map((key) => [`change:${key}`, () => this.changed()]),
    ];
    for (const [event, action] of this.on) model.on(event, action);
  }

  close() {
    for (const [event, action] of this.on) this.model.off(event, action);
    cores.delete(this.model.get("uid"));
  }

  /** Unpack the parts that are new. */
  take() {
    const before = this.received;
    const sent = this.model.get("sent") ?? 0;
    for (; this.received < sent; this.received++) {
      this.store.add(unpack(this.model.get(`part_${this.received}`)));
    }
    if (this.received > before) {
      this.settleClass();
      this.changed();
    }
  }

  /** A choice was made, here or elsewhere: one that does not exist is taken back. */
  chosen(key) {
    const value = this.model.get(key);
    const name = this.model.get("model_name");
    const known = this.offer.models.includes(name) ? name : this.last.model_name;
    if (!exists(this.offer, known, key, value)) {
      this.model.set(key, this.last[key]);
      return;
    }
    this.last[key] = value;
    if (key === "model_name") this.set(settled(this.offer, this.last));
    if (key === "model_name" || key === "image_index") this.settleClass();
    this.changed();
  }

  /** Of many classes each picture offers its own: another picture begins with its top one. */
  settleClass() {
    const { model_name: name, image_index: i, target } = this.last;
    if (this.offer.few[name]) return;
    const scores = this.scores(name, i);
    if (scores && !this.classes(name, i).includes(target)) this.set({ target: top(scores) });
  }

  set(changes) {
    for (const [key, value] of Object.entries(changes)) this.model.set(key, value);
  }

  /** Make choices; the kernel hears of them a moment later, of many at once. */
  choose(changes) {
    this.set(changes);
    this.saving ??= setTimeout(() => {
      this.saving = null;
      try {
        this.model.save_changes();
      } catch {
        // no kernel: all that needs none goes on
      }
    }, 60);
  }

  changed() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      for (const listener of this.listeners) listener();
    });
  }

  /** The classes that can be chosen for a picture, in the order of its bars. */
  classes(name, i) {
    const scores = this.scores(name, i);
    const all = this.offer.few[name] ? range(this.offer.classes[name]) : [this.last.target];
    const extras = this.model.get("extras").filter((c) => c < this.offer.classes[name]);
    return [...new Set([...(scores?.classes ?? all), ...extras])];
  }

  /** The scores of a picture, from the store or of what was painted; null while not known. */
  scores(name, i, store = this.store) {
    return store?.get(`scores/${this.offer.models.indexOf(name)}/${i}`) ?? null;
  }

  /** Which map a choice means. */
  which(choice) {
    return {
      m: this.offer.models.indexOf(choice.model_name),
      i: choice.image_index,
      c: choice.target,
      layer: choice.layer,
      method: choice.method,
      signed: choice.signed,
    };
  }

  /** The network's answer, or null while it is not known. */
  answer(name, i) {
    const scores = this.scores(name, i);
    return scores ? top(scores) : null;
  }

  /** Where an Explorer of the present model and picture begins. */
  first() {
    const { model_name: name, image_index: i } = this.last;
    const { models, layers, methods } = this.offer;
    const target = this.answer(name, i) ?? -1;
    return {
      model_name: models[0],
      image_index: 0,
      layer: layers[name].at(-1),
      target,
      method: methods[name][0],
    };
  }

  /** What `other` says, the rest as in the first setting. */
  second() {
    const choice = { ...this.last, ...this.last.other };
    for (const key of ["model_name", "layer", "target", "method"]) {
      if (!exists(this.offer, choice.model_name, key, choice[key])) choice[key] = this.last[key];
    }
    return { ...choice, ...settled(this.offer, choice) };
  }

  /** Ask for what a map is made of and is not there; once, until something else is missing. */
  want(which) {
    const { m, i } = which;
    const keys = [`picture/${i}`, `scores/${m}/${i}`, ...keysOf(which)];
    const missing = keys.filter((key) => !this.store.get(key));
    if (!missing.length || this.wanted === missing.join()) return;
    this.wanted = missing.join();
    clearTimeout(this.wanting);
    this.wanting = setTimeout(() => {
      const still = missing.filter((key) => !this.store.get(key));
      if (still.length) this.send({ want: still });
    }, 250);
  }

  /** The colour table for a field, as bytes. */
  tableOf(field, choice) {
    const text = this.offer.tables[field?.signed ? "RdBu_r" : choice.colormap];
    if (!this.tables.has(text)) this.tables.set(text, decode(text));
    return this.tables.get(text);
  }

  answered(content, buffers = []) {
    for (const answer of this.answers) answer(content, buffers);
  }

  send(content, buffers = []) {
    try {
      this.model.send(content, undefined, buffers);
    } catch {
      // no kernel: whoever waits says so
    }
  }
}

export const range = (count) => Array.from({ length: count }, (_, k) => k);

/** The class with the highest score. */
export function top({ classes, scores }) {
  return classes.reduce((best, c, k) => (scores[k] > scores[classes.indexOf(best)] ? c : best));
}
