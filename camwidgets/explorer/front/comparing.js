import { Menu, make, Segments, Slider, say } from "./dom.js";

/** A second setting beside the first, or under a wipe. */
export class Comparing {
  wipes = false;
  share = 0.5;

  constructor(core, view) {
    this.core = core;
    this.view = view;
    const { offer } = core;
    const other = (changes) => core.choose({ other: { ...core.last.other, ...changes } });
    this.mode = new Segments("compare", ["side by side", "wipe"], (k) => {
      this.wipes = k === 1;
      core.changed();
    });
    this.model = new Slider("second model", (k) => other({ model_name: offer.models[k] }));
    this.method = new Menu("second method", (k) => other({ method: this.methods[k] }));
    this.layer = new Slider("second layer", (k) => other({ layer: this.layers[k] }));
    this.target = new Slider("second class", (k) => other({ target: this.classes[k] }));
    this.wipe = new Slider("wipe", (k) => {
      this.share = k / 100;
      core.changed();
    });
    const controls = [this.mode, this.wipe, this.model, this.method, this.layer, this.target];
    const roots = controls.map((control) => control.root);
    this.root = make("div", "cw-panel cw-controls", { hidden: "" }, ...roots);
  }

  draw(shown, picture) {
    const { core, view } = this;
    const { offer } = core;
    const choice = core.second();
    const name = choice.model_name;
    this.layers = offer.layers[name];
    this.methods = offer.methods[name];
    this.classes = core.classes(name, choice.image_index);
    if (!this.classes.includes(choice.target)) this.classes.push(choice.target);
    this.mode.show(this.wipes ? 1 : 0);
    this.model.show(offer.models.length, offer.models.indexOf(name), name);
    this.method.show(this.methods, this.methods.indexOf(choice.method));
    this.layer.show(this.layers.length, this.layers.indexOf(choice.layer), choice.layer);
    const word = offer.names[name][choice.target];
    this.target.show(this.classes.length, this.classes.indexOf(choice.target), word);
    this.wipe.show(101, Math.round(100 * this.share), `${Math.round(100 * this.share)} %`);
    this.wipe.root.hidden = !this.wipes;
    const second = view.state(choice, core.store, core.heats, picture);
    view.second.draw(second);
    view.second.root.hidden = this.wipes;
    if (this.wipes) view.first.wipe(view.second.image, this.share);
    say(view.first.title, this.wipes ? "left: first, right: second" : "first");
    say(view.second.title, "second");
    return [shown.words, second.words];
  }
}
