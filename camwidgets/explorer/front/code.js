/* The Python that gives the present picture; `code` in export.py writes the same. */

const PLAIN = {
  alpha: 0.5,
  colormap: "inferno",
  opacity: "heat",
  other: {},
  outline: true,
  scale: "own",
  signed: false,
  threshold: 0,
  view: "one",
};

/** A value as Python writes it. */
export function repr(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return quoted(value);
  if (typeof value === "object") {
    const pairs = Object.entries(value).map(([key, each]) => `${quoted(key)}: ${repr(each)}`);
    return `{${pairs.join(", ")}}`;
  }
  return String(value);
}

function quoted(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = "";
  for (const sign of text) {
    if (sign === "\\" || sign === quote) out += `\\${sign}`;
    else if (sign === "\n") out += "\\n";
    else if (sign === "\t") out += "\\t";
    else if (sign === "\r") out += "\\r";
    else out += sign;
  }
  return quote + out + quote;
}

export function code(call, state, first) {
  const usual = { ...PLAIN, ...first };
  const changed = Object.keys(usual)
    .sort()
    .filter((key) => key !== "other" || state.view === "compare")
    .filter((key) => repr(state[key]) !== repr(usual[key]))
    .map((key) => `${key}=${repr(state[key])}`);
  return `${[call, ...changed].join(", ")})`;
}
