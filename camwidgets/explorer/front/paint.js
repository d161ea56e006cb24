/* Numbers to colours: values were upsampled before, here they are coloured and blended. */

/** Colour tables come as base64 of 256 RGB triples. */
export const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/**
 * Lay a map over its picture: RGBA into `out`.
 *
 * look: { table, alpha, opacity: "heat" | "constant", threshold: share below which nothing shows }
 */
export function paint(out, rgb, field, limit, look) {
  if (field?.planes) paintPlanes(out, rgb, field, limit, look);
  else if (field && limit > 0) paintMap(out, rgb, field, limit, look);
  else paintPicture(out, rgb, field, look);
  return out;
}

function paintMap(out, rgb, { values, signed }, limit, { table, alpha, opacity, threshold }) {
  const follows = opacity !== "constant";
  const count = values.length;
  for (let k = 0, from = 0, to = 0; k < count; k++, from += 3, to += 4) {
    let share = values[k] / limit;
    if (share > 1) share = 1;
    if (share < -1) share = -1;
    const strength = share < 0 ? -share : share;
    const place = signed ? (share + 1) / 2 : share;
    const cover = strength < threshold ? 0 : follows ? alpha * strength : alpha;
    const colour = 3 * Math.min(255, Math.floor(place * 256));
    const rest = 1 - cover;
    out[to] = rest * rgb[from] + cover * table[colour];
    out[to + 1] = rest * rgb[from + 1] + cover * table[colour + 1];
    out[to + 2] = rest * rgb[from + 2] + cover * table[colour + 2];
    out[to + 3] = 255;
  }
}

/** Signed channels on gray, as papers show guided backpropagation. */
function paintPlanes(out, rgb, { planes, values }, limit, { alpha, threshold }) {
  const scale = limit > 0 ? 127.5 / limit : 0;
  const bar = threshold * limit;
  const colours = planes.length === 3;
  for (let k = 0, from = 0, to = 0; k < values.length; k++, from += 3, to += 4) {
    const cover = Math.abs(values[k]) < bar ? 0 : alpha;
    for (let c = 0; c < 3; c++) {
      const value = colours ? planes[c][k] : values[k];
      const gray = Math.max(0, Math.min(255, 127.5 + scale * value));
      out[to + c] = (1 - cover) * rgb[from + c] + cover * gray;
    }
    out[to + 3] = 255;
  }
}

/** No map, or a blank one: with constant opacity its veil, else the picture alone. */
function paintPicture(out, rgb, field, { table, alpha, opacity, threshold }) {
  const cover = field && opacity === "constant" && !(threshold > 0) ? alpha : 0;
  const colour = field?.signed ? 3 * 128 : 0;
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    for (let c = 0; c < 3; c++) {
      out[to + c] = (1 - cover) * rgb[from + c] + cover * (table?.[colour + c] ?? 0);
    }
    out[to + 3] = 255;
  }
}

/** The border of a mask as an SVG path along the pixels' edges, joined into runs. */
export function outline(mask, W, H) {
  const is = (x, y) => x >= 0 && y >= 0 && x < W && y < H && mask[y * W + x] === 1;
  let path = "";
  const run = (length, from, along, edge) => {
    for (let a = 0; a < length; a++) {
      let b = a;
      while (b < length && edge(b)) b++;
      if (b > a) path += `M${from(a)}${along}${b - a}`;
      a = b;
    }
  };
  for (let y = 0; y <= H; y++) {
    run(
      W,
      (x) => `${x} ${y}`,
      "h",
      (x) => is(x, y) !== is(x, y - 1),
    );
  }
  for (let x = 0; x <= W; x++) {
    run(
      H,
      (y) => `${x} ${y}`,
      "v",
      (y) => is(x, y) !== is(x - 1, y),
    );
  }
  return path;
}

/** The tight box [left, top, right, bottom] of the largest part at or above a value, or null. */
export function box({ values, size: [H, W] }, bar) {
  const seen = new Uint8Array(values.length);
  const stack = new Int32Array(values.length);
  let best = null;
  let most = 0;
  for (let start = 0; start < values.length; start++) {
    if (seen[start] || !(values[start] >= bar)) continue;
    let count = 0;
    let depth = 0;
    const edge = [W, H, 0, 0];
    stack[depth++] = start;
    seen[start] = 1;
    while (depth) {
      const k = stack[--depth];
      const x = k % W;
      const y = (k - x) / W;
      count++;
      edge[0] = Math.min(edge[0], x);
      edge[1] = Math.min(edge[1], y);
      edge[2] = Math.max(edge[2], x + 1);
      edge[3] = Math.max(edge[3], y + 1);
      for (let v = Math.max(0, y - 1); v <= Math.min(H - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(W - 1, x + 1); u++) {
          const next = v * W + u;
          if (seen[next] || !(values[next] >= bar)) continue;
          seen[next] = 1;
          stack[depth++] = next;
        }
      }
    }
    if (count > most) [best, most] = [edge, count];
  }
  return best;
}

/** The tight box of all that a mask holds. */
export function tightBox(mask, [H, W]) {
  const edge = [W, H, 0, 0];
  for (let k = 0; k < mask.length; k++) {
    if (!mask[k]) continue;
    const x = k % W;
    const y = (k - x) / W;
    edge[0] = Math.min(edge[0], x);
    edge[1] = Math.min(edge[1], y);
    edge[2] = Math.max(edge[2], x + 1);
    edge[3] = Math.max(edge[3], y + 1);
  }
  return edge;
}
