import { coreOf } from "./core.js";
import { decode } from "./paint.js";
import { View } from "./view.js";

function initialize({ model }) {
  const core = coreOf(model);
  return () => core.close();
}

function render({ model, el }) {
  try {
    const view = new View(coreOf(model), el);
    return () => view.close();
  } catch (error) {
    el.textContent = `The Explorer could not be drawn: ${error.message}`;
    return () => {};
  }
}

/** As much of a widget's model as a file without a kernel needs. */
class Model {
  listeners = new Map();

  constructor(values) {
    this.values = values;
  }

  get(key) {
    return this.values[key];
  }

  set(key, value) {
    if (this.values[key] === value) return;
    this.values[key] = value;
    for (const event of [`change:${key}`, "change"]) {
      for (const action of [...(this.listeners.get(event) ?? [])]) action();
    }
  }

  on(event, action) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), action]);
  }

  off(event, action) {
    this.listeners.set(
      event,
      (this.listeners.get(event) ?? []).filter((each) => each !== action),
    );
  }

  save_changes() {}

  send() {}
}

/** Show an Explorer that was written to a file. Returns its model. */
export function openFile({ state, parts }, el) {
  const packed = parts.map((part, k) => [`part_${k}`, decode(part)]);
  const model = new Model({ ...state, ...Object.fromEntries(packed), sent: parts.length });
  initialize({ model });
  render({ model, el });
  return model;
}

export default { initialize, render };
