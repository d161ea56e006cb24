import { make, say } from "./dom.js";
import { number, percent } from "./numbers.js";

/** A bar for each class: its share or its score; a click chooses it. */
export class Bars {
  constructor(onChoice) {
    this.onChoice = onChoice;
    this.title = make("p", "cw-bars-title", { "aria-hidden": "true" });
    this.list = make("div", "cw-bars", { role: "group", "aria-label": "classes" });
    this.root = make("div", "", {}, this.title, this.list);
    this.rows = [];
  }

  show({ classes, names, scores, asked, truth, target, scoreName, activation }) {
    while (this.rows.length > classes.length) this.rows.pop().root.remove();
    while (this.rows.length < classes.length) this.add();
    const shares = activation !== "none";
    say(this.title, shares ? "probability" : scoreName);
    const best = scores ? Math.max(...scores.scores) : null;
    classes.forEach((id, k) => {
      const row = this.rows[k];
      row.id = id;
      const at = scores?.classes.indexOf(id) ?? -1;
      const score = at < 0 ? null : scores.scores[at];
      const share = at < 0 ? null : scores.shares[at];
      const after = asked ? asked.classes.indexOf(id) : -1;
      const now = after < 0 ? share : asked.shares[after];
      const nowScore = after < 0 ? score : asked.scores[after];
      say(row.name, names[id]);
      say(row.mark, id === truth ? "true" : "");
      row.track.style.visibility = share === null ? "hidden" : "";
      row.bar.style.width = `${100 * (now ?? 0)}%`;
      row.before.hidden = after < 0 || share === null;
      row.before.style.left = `${100 * (share ?? 0)}%`;
      const text = (s, p) => (p === null ? (s === null ? "…" : number(s)) : percent(p));
      say(row.value, text(nowScore, now));
      const words = [names[id], text(nowScore, now)];
      if (after >= 0) words.push(`before ${text(score, share)}`);
      if (nowScore !== null && share !== null) words.push(`${scoreName} ${number(nowScore)}`);
      if (id === truth) words.push("true class");
      if (score !== null && score === best) words.push("the network’s answer");
      row.root.title = words.join(", ");
      say(row.more, words.slice(2).join(", "));
      row.root.setAttribute("aria-pressed", String(id === target));
    });
  }

  add() {
    const row = {
      name: make("span", "cw-name"),
      mark: make("span", "cw-mark"),
      bar: make("span", "cw-bar"),
      before: make("span", "cw-before"),
      value: make("span", "cw-number"),
      more: make("span", "cw-unseen"),
    };
    row.track = make("span", "cw-track", {}, row.bar, row.before);
    const words = make("span", "cw-words", {}, row.name, row.mark);
    row.root = make("button", "cw-class", { type: "button" }, words, row.track, row.value);
    row.root.append(row.more);
    row.root.addEventListener("click", () => this.onChoice(row.id));
    this.list.append(row.root);
    this.rows.push(row);
  }
}
