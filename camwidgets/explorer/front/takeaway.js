import { code } from "./code.js";
import { button, make, say } from "./dom.js";
import { download, picture } from "./save.js";

/** What can be taken along: the picture, and the Python that gives it. */
export class TakeAway {
  constructor(core, view) {
    this.core = core;
    this.view = view;
    this.text = make("pre", "cw-code", {
      tabindex: 0,
      role: "region",
      "aria-label": "Python code",
    });
    this.status = make("span", "cw-status", { "aria-live": "polite" });
    const save = button("Save picture", () => this.save());
    const copy = button("Copy code", () => this.copy());
    const buttons = make("div", "cw-buttons", {}, save, copy, this.status);
    this.root = make("div", "cw-panel", { hidden: "" }, buttons, this.text);
  }

  draw() {
    if (this.root.hidden) return;
    const { core } = this;
    say(this.text, code(core.offer.call, core.last, core.first()));
  }

  async save() {
    const { view } = this;
    const seen = [view.first, view.second].filter((pane) => !pane.root.hidden && pane.shown);
    const panes = seen.length ? seen : [view.first];
    if (!panes[0].shown) {
      say(this.status, "there is no picture to save");
      return;
    }
    download(await picture(panes, view.lines), "explorer.png");
    say(this.status, "saved as explorer.png");
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      say(this.status, "copied");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(this.text);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      say(this.status, "selected: copy it with Ctrl+C");
    }
  }
}
