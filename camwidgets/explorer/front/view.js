import { Asking } from "./asking.js";
import { Bars } from "./bars.js";
import { Comparing } from "./comparing.js";
import { top } from "./core.js";
import { button, Menu, make, Segments, Slider, say, Tick } from "./dom.js";
import { hasLayers, keysOf } from "./heat.js";
import { percent } from "./numbers.js";
import { Overview } from "./overview.js";
import { Pane } from "./pane.js";
import { TakeAway } from "./takeaway.js";
import { caption } from "./words.js";

const STEPS = 20;

/** One view of an Explorer: all that is drawn, and what is done to it. */
export class View {
  captions = new Map();

  constructor(core, el) {
    this.core = core;
    this.el = el;
    el.classList.add("cw-host");
    this.build();
    this.listener = () => this.safely();
    core.listeners.add(this.listener);
    // A cell that was scrolled out of sight may come back with an empty canvas.
    this.sight = new IntersectionObserver(() => this.safely());
    this.sight.observe(this.root);
    this.safely();
  }

  close() {
    this.sight.disconnect();
    window.removeEventListener("keydown", this.keys, { capture: true });
    this.asking.close();
    this.core.listeners.delete(this.listener);
  }

  // -- what there is ---------------------------------------------------------------------------

  build() {
    const { core } = this;
    const choose = (changes) => core.choose(changes);
    const { offer } = core;
    this.first = new Pane("picture");
    this.second = new Pane("second picture");
    this.overview = new Overview(core, (changes) => choose({ ...changes, view: "one" }));
    this.bars = new Bars((target) => choose({ target }));
    this.find = new Finder(core);

    this.layer = new Slider("layer", (k) => choose({ layer: offer.layers[this.name][k] }));
    this.target = new Slider("class", (k) => choose({ target: this.classes()[k] }));
    this.alpha = new Slider("alpha", (k) => choose({ alpha: k / STEPS }));
    this.image = new Slider("image", (k) => choose({ image_index: k }));
    this.model = new Slider("model", (k) => choose({ model_name: offer.models[k] }));
    this.method = new Menu("method", (k) => choose({ method: offer.methods[this.name][k] }));
    this.answer = button("network’s answer", () => choose({ target: this.best() }), "cw-quiet");

    this.comparing = new Comparing(core, this);
    this.asking = new Asking(core, this);
    this.takeAway = new TakeAway(core, this);
    this.panels = {
      display: this.displayPanel(choose),
      compare: this.comparing.root,
      ask: this.asking.root,
      take: this.takeAway.root,
    };
    this.tabs = {
      display: button("Display", () => this.toggle("display"), "cw-tab"),
      compare: button("Compare", () => this.toggle("compare"), "cw-tab"),
      overview: button("Overview", () => this.toggle("overview"), "cw-tab"),
      ask: button("Ask", () => this.toggle("ask"), "cw-tab"),
      take: button("Take away", () => this.toggle("take"), "cw-tab"),
    };
    this.progress = make("span", "cw-progress");
    this.caption = make("p", "cw-caption", { "aria-live": "polite" });
    this.note = make("p", "cw-note");
    this.alarm = make("p", "cw-alarm", { role: "alert" });

    this.stage = make("div", "cw-stage", {}, this.first.root, this.second.root, this.overview.root);
    const side = make("div", "", {}, this.bars.root, this.find.root, this.answer);
    this.root = make(
      "section",
      "cw-explorer",
      { "aria-label": "Explorer" },
      make("div", "cw-top", {}, this.stage, side),
      make("div", "cw-controls", {}, this.layer.root, this.target.root, this.alpha.root),
      make("div", "cw-controls", {}, this.image.root, this.model.root, this.method.root),
      this.caption,
      make("div", "cw-tabs", {}, ...Object.values(this.tabs), this.progress),
      ...Object.values(this.panels),
      this.note,
      this.alarm,
    );
    this.keys = (event) => this.key(event);
    window.addEventListener("keydown", this.keys, { capture: true });
    this.el.replaceChildren(this.root);
  }

  /**
   * Keys belong to whatever has the focus in here, and no shortcut of the notebook may take them.
   * Notebook 7 listens on the document before the focused element does: the window is earlier.
   */
  key(event) {
    if (!event.composedPath().includes(this.root)) return;
    const pane = [this.first, this.second].find(({ frame }) => frame === event.target);
    pane?.key(event);
    if (!(event.ctrlKey || event.metaKey || event.key === "Escape")) {
      event.stopImmediatePropagation();
    }
  }

  displayPanel(choose) {
    const { offer } = this.core;
    const words = { opacity: ["heat", "constant"], scale: ["own", "all"] };
    this.colours = new Segments("colours", offer.colormaps, (k) =>
      choose({ colormap: offer.colormaps[k] }),
    );
    this.opacity = new Segments("opacity", ["follows the heat", "constant"], (k) =>
      choose({ opacity: words.opacity[k] }),
    );
    this.scale = new Segments("scale", ["this map", "all maps"], (k) =>
      choose({ scale: words.scale[k] }),
    );
    this.threshold = new Slider("threshold", (k) => choose({ threshold: k / STEPS }));
    this.signed = new Tick("both signs", (signed) => choose({ signed }));
    this.outline = new Tick("outline of the mask", (outline) => choose({ outline }));
    return make(
      "div",
      "cw-panel cw-controls",
      { hidden: "" },
      ...[this.colours, this.opacity, this.scale, this.threshold, this.signed, this.outline].map(
        (control) => control.root,
      ),
    );
  }

  toggle(tab) {
    if (["compare", "overview", "ask"].includes(tab)) {
      this.panel = null;
      const view = this.choice.view === tab ? "one" : tab;
      const fresh = view === "compare" && !Object.keys(this.choice.other).length;
      this.core.choose(fresh ? { view, other: this.contrast() } : { view });
    } else {
      this.panel = this.panel === tab ? null : tab;
    }
    this.core.changed();
  }

  /** What a comparison begins with: another model or, of one model, the runner-up. */
  contrast() {
    const { offer } = this.core;
    const m = offer.models.indexOf(this.name);
    if (offer.models.length > 1) return { model_name: offer.models[(m + 1) % offer.models.length] };
    const scores = this.core.scores(this.name, this.choice.image_index);
    const others = (scores?.classes ?? []).filter((c) => c !== this.choice.target);
    if (!others.length) return {};
    const rest = others.map((c) => scores.scores[scores.classes.indexOf(c)]);
    return { target: top({ classes: others, scores: rest }) };
  }

  // -- what is chosen --------------------------------------------------------------------------

  get choice() {
    return this.core.last;
  }

  get name() {
    return this.choice.model_name;
  }

  classes() {
    return this.core.classes(this.name, this.choice.image_index);
  }

  best() {
    return this.core.answer(this.name, this.choice.image_index) ?? this.choice.target;
  }

  // -- painting --------------------------------------------------------------------------------

  safely() {
    try {
      this.paint();
    } catch (error) {
      this.root.dataset.state = "failed";
      say(this.alarm, `The picture could not be drawn: ${error.message}`);
    }
  }

  paint() {
    const { core, choice } = this;
    const { store, heats } = core;
    this.failure = "";
    const picture = store.get(`picture/${choice.image_index}`);
    this.paintControls();
    if (!picture || picture.error) {
      core.want(core.which(choice));
      this.fail(picture?.error);
      this.showNothing();
      this.finish(this.failure ? "failed" : "waiting");
      return;
    }
    const shown = this.state(choice, store, heats, picture);
    this.paintBars();
    const both = choice.view === "compare" || choice.view === "ask";
    this.stage.dataset.view = choice.view;
    this.first.root.hidden = choice.view === "overview";
    this.second.root.hidden = !both;
    this.overview.root.hidden = choice.view !== "overview";
    this.first.draw(shown);
    say(this.first.title, "");
    let lines = [shown.words];
    if (choice.view === "compare") lines = this.comparing.draw(shown, picture);
    else if (choice.view === "ask") lines = this.asking.draw(shown, picture);
    else if (choice.view === "overview") this.overview.draw(choice, picture, shown.look);
    this.lines = lines;
    say(this.caption, lines.join("\n"));
    this.takeAway.draw();
    this.finish(shown.field ? "ready" : this.failure ? "failed" : "waiting");
  }

  /** What is seen of a picture that has not come, or cannot be had. */
  showNothing() {
    this.stage.dataset.view = "one";
    this.first.root.hidden = false;
    this.second.root.hidden = true;
    this.overview.root.hidden = true;
    this.first.empty(this.failure ? "" : "computing…");
    this.paintBars();
    this.lines = [];
    say(this.caption, "");
    this.takeAway.draw();
  }

  finish(state) {
    this.root.dataset.state = state;
    say(this.alarm, this.failure || this.core.model.get("message"));
  }

  fail(sentence) {
    this.failure = sentence || this.failure;
  }

  /** All that a pane needs to draw a choice. */
  state(choice, store, heats, picture) {
    const { core } = this;
    const { offer } = core;
    const which = core.which(choice);
    const field = heats.field(which);
    const parts = keysOf(which).map((key) => store.get(key));
    this.fail(parts.find((part) => part?.error)?.error);
    if (!field && store === core.store) core.want(which);
    const name = offer.models[which.m];
    const limit = field ? heats.limit(which, choice.scale, offer.layers[name]) : 0;
    const { alpha, opacity, threshold } = choice;
    const table = core.tableOf(field, choice);
    return {
      size: picture.size,
      rgb: picture.rgb,
      outline: choice.outline ? picture.outline : null,
      field,
      limit,
      look: { table, alpha, opacity, threshold },
      words: field ? this.words(which, field, limit, store, picture) : "",
      wait: field || this.failure ? null : "computing…",
    };
  }

  /** The caption; worked out anew only where the map, its scale or the threshold is another. */
  words(which, field, limit, store, picture) {
    const { offer } = this.core;
    const bar = field.planes ? 0 : this.choice.threshold * limit;
    const known = this.captions.get(field);
    if (known?.bar === bar && known.picture === picture) return known.text;
    const name = offer.models[which.m];
    const text = caption({
      model: offer.models.length > 1 ? name : "",
      method: which.method,
      layer: which.layer,
      name: offer.names[name][which.c],
      score: scoreOf(store, which),
      scoreName: offer.scoreName[name],
      field,
      mask: picture.outline,
      bar,
    });
    if (this.captions.size > 100) this.captions.clear();
    this.captions.set(field, { bar, picture, text });
    return text;
  }

  paintControls() {
    const { core, choice, name } = this;
    const { offer } = core;
    const { image_index: i } = choice;
    const layers = offer.layers[name];
    this.layer.show(layers.length, layers.indexOf(choice.layer), choice.layer);
    this.layer.root.classList.toggle("cw-idle", !hasLayers(choice.method));
    const classes = this.classes();
    this.target.show(
      classes.length,
      classes.indexOf(choice.target),
      offer.names[name][choice.target],
    );
    const alpha = Math.round(choice.alpha * STEPS);
    this.alpha.show(STEPS + 1, alpha, choice.alpha.toFixed(2), percent(choice.alpha));
    const title = core.store.get(`picture/${i}`)?.title;
    const count = `${i + 1} of ${offer.images}`;
    this.image.show(offer.images, i, title ? `${title} · ${count}` : count);
    this.model.show(offer.models.length, offer.models.indexOf(name), name);
    const methods = offer.methods[name];
    this.method.show(methods, methods.indexOf(choice.method));
    this.colours.show(offer.colormaps.indexOf(choice.colormap));
    this.colours.root.classList.toggle("cw-idle", choice.signed);
    this.opacity.show(choice.opacity === "constant" ? 1 : 0);
    this.scale.show(choice.scale === "all" ? 1 : 0);
    const share = Math.round(choice.threshold * STEPS);
    this.threshold.show(STEPS + 1, share, choice.threshold ? percent(choice.threshold) : "off");
    this.signed.show(choice.signed);
    this.outline.show(choice.outline);
    this.outline.root.hidden = !core.store.get(`picture/${i}`)?.mask;
    this.find.show(name);
    for (const [key, tab] of Object.entries(this.tabs)) {
      const open = this.panel === key || choice.view === key;
      tab.setAttribute(key in this.panels ? "aria-expanded" : "aria-pressed", String(open));
      if (key in this.panels) this.panels[key].hidden = !open;
    }
    const [done, all] = core.model.get("progress");
    say(this.progress, done < all ? `computing ${done} of ${all}` : "");
    say(this.note, offer.note);
  }

  paintBars() {
    const { core, choice, name } = this;
    const { offer, store } = core;
    const scores = core.scores(name, choice.image_index);
    this.fail(scores?.error);
    const asked =
      choice.view === "ask" ? core.scores(name, choice.image_index, this.asking.store) : null;
    const truth = store.get(`picture/${choice.image_index}`)?.truth ?? null;
    this.bars.show({
      classes: this.classes(),
      names: offer.names[name],
      scores: scores && !scores.error ? this.withOthers(scores) : null,
      asked,
      truth,
      target: choice.target,
      scoreName: offer.scoreName[name],
      activation: offer.activation[name],
    });
    const best = scores && !scores.error ? top(scores) : choice.target;
    this.answer.setAttribute("aria-disabled", String(best === choice.target));
    this.answer.title = offer.names[name][best];
    this.answer.hidden = offer.classes[name] < 2;
  }

  /** The scores of the picture, and of classes that it does not offer what their maps say. */
  withOthers({ classes, scores, shares }) {
    const { core, choice, name } = this;
    const found = { classes: [...classes], scores: [...scores], shares: [...shares] };
    for (const target of this.classes().filter((c) => !classes.includes(c))) {
      const part = core.offer.methods[name]
        .map((method) => keysOf(core.which({ ...choice, target, method })).at(-1))
        .map((key) => core.store.get(key))
        .find((each) => Number.isFinite(each?.score));
      if (!part) continue;
      found.classes.push(target);
      found.scores.push(part.score);
      found.shares.push(part.share);
    }
    return found;
  }
}

/** The score of a class; of one that the picture does not offer, its maps say it. */
function scoreOf(store, which) {
  const scores = store.get(`scores/${which.m}/${which.i}`);
  const k = scores?.classes?.indexOf(which.c) ?? -1;
  return k >= 0 ? scores.scores[k] : (store.get(keysOf(which).at(-1))?.score ?? Number.NaN);
}

/** Of a model with many classes: a field that finds any of them by its name. */
class Finder {
  constructor(core) {
    this.core = core;
    this.input = make("input", "", { type: "search", placeholder: "find a class" });
    this.input.setAttribute("aria-label", "find a class");
    this.list = make("datalist", "", { id: `cw-list-${core.model.get("uid")}-${Math.random()}` });
    this.input.setAttribute("list", this.list.id);
    this.root = make("div", "cw-find", {}, this.input, this.list);
    this.input.addEventListener("change", () => this.choose());
  }

  show(name) {
    this.root.hidden = this.core.offer.few[name];
    if (this.root.hidden || this.shown === name) return;
    this.shown = name;
    const options = this.core.offer.names[name].map((word) => make("option", "", { value: word }));
    this.list.replaceChildren(...options);
  }

  choose() {
    const target = this.core.offer.names[this.shown].indexOf(this.input.value);
    if (target < 0) return;
    this.input.value = "";
    const { model } = this.core;
    const known = this.core.classes(this.shown, this.core.last.image_index);
    if (!known.includes(target)) model.set("extras", [...model.get("extras"), target]);
    this.core.choose({ target });
  }
}
