const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** An element with its class, attributes and children. */
export function make(tag, name = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return fill(element, attributes, children);
}

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Set a text only where it differs, so that nothing is read out twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let ids = 0;
export const newId = (word) => `cw-${word}-${ids++}-${Math.random().toString(36).slice(2, 7)}`;

/** A slider with its name and its value in words over it: no word ever moves it. */
export class Slider {
  constructor(name, onMove) {
    const id = newId("slider");
    this.input = make("input", "", { type: "range", min: 0, step: 1, id });
    this.value = make("span", "cw-value");
    const label = make("label", "cw-label", { for: id }, name);
    this.root = make("div", "cw-control", {}, label, this.value, this.input);
    this.input.addEventListener("input", () => onMove(Number(this.input.value)));
  }

  /** `at` of `count` places, called `words`. */
  show(count, at, words, spoken = words) {
    this.root.hidden = count < 2;
    if (this.input.max !== String(count - 1)) this.input.max = count - 1;
    if (Number(this.input.value) !== at) this.input.value = at;
    this.input.style.setProperty("--cw-at", `${count > 1 ? (100 * at) / (count - 1) : 0}%`);
    this.input.setAttribute("aria-valuetext", spoken);
    say(this.value, words);
    this.value.title = words;
  }
}

/** A menu of words. */
export class Menu {
  constructor(name, onChoice) {
    const id = newId("menu");
    this.select = make("select", "", { id });
    this.root = make("div", "cw-control", {}, make("label", "cw-label", { for: id }, name));
    this.root.append(this.select);
    this.select.addEventListener("change", () => onChoice(this.select.selectedIndex));
  }

  show(names, at) {
    this.root.hidden = names.length < 2;
    const { options } = this.select;
    if (options.length !== names.length || names.some((name, k) => options[k].text !== name)) {
      this.select.replaceChildren(...names.map((name) => new Option(name)));
    }
    if (this.select.selectedIndex !== at) this.select.selectedIndex = at;
  }
}

/** A few words of which one holds: radio buttons drawn as one strip. */
export class Segments {
  constructor(name, words, onChoice) {
    const group = newId("group");
    this.inputs = words.map((_, k) => {
      const input = make("input", "", { type: "radio", name: group });
      input.addEventListener("change", () => onChoice(k));
      return input;
    });
    const labels = words.map((word, k) =>
      make("label", "", {}, this.inputs[k], make("span", "", {}, word)),
    );
    this.root = make("div", "cw-control", {}, make("span", "cw-label", { id: group }, name));
    const attributes = { role: "radiogroup", "aria-labelledby": group };
    this.root.append(make("div", "cw-segments", attributes, ...labels));
  }

  show(at) {
    this.inputs.forEach((input, k) => {
      if (input.checked !== (k === at)) input.checked = k === at;
    });
  }
}

/** A box to tick. */
export class Tick {
  constructor(words, onChoice) {
    this.input = make("input", "", { type: "checkbox" });
    this.root = make("label", "cw-tick", {}, this.input, words);
    this.input.addEventListener("change", () => onChoice(this.input.checked));
  }

  show(checked) {
    if (this.input.checked !== checked) this.input.checked = checked;
  }
}

export function button(words, onClick, name = "cw-button") {
  const element = make("button", name, { type: "button" }, words);
  element.addEventListener("click", onClick);
  return element;
}
