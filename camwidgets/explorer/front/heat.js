/* From the stored maps to what is painted: one number a pixel. display.py does the same. */

export const GUIDED = ["guided backprop", "guided Grad-CAM"];
/** a user's own method minus the reference is offered as a method of its own */
export const MINUS = " − Grad-CAM";

/** Bilinear, as torch's interpolate(align_corners=False): (h, w) → Float32Array (H · W). */
export function upsample(values, [h, w], [H, W], unit = 1, positive = false) {
  const left = new Int32Array(W);
  const right = new Int32Array(W);
  const across = new Float64Array(W);
  for (let x = 0; x < W; x++) {
    const at = Math.max(0, ((x + 0.5) * w) / W - 0.5);
    left[x] = Math.min(Math.floor(at), w - 1);
    right[x] = Math.min(left[x] + 1, w - 1);
    across[x] = at - left[x];
  }
  const line = new Float64Array(w);
  const rows = new Float64Array(h * W);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const value = values[y * w + x] * unit;
      line[x] = positive && value < 0 ? 0 : value;
    }
    for (let x = 0; x < W; x++) {
      const part = across[x];
      rows[y * W + x] = line[left[x]] * (1 - part) + line[right[x]] * part;
    }
  }
  const out = new Float32Array(H * W);
  for (let y = 0; y < H; y++) {
    const at = Math.max(0, ((y + 0.5) * h) / H - 0.5);
    const top = Math.min(Math.floor(at), h - 1);
    const low = at - top;
    const upper = top * W;
    const lower = Math.min(top + 1, h - 1) * W;
    for (let x = 0; x < W; x++) {
      out[y * W + x] = rows[upper + x] * (1 - low) + rows[lower + x] * low;
    }
  }
  return out;
}

const layered = (part, layer) =>
  part?.maps?.find((map) => map.layer === layer || map.layer === null) ?? null;

/** Whether a method's maps belong to a layer. */
export const hasLayers = (method) => !["CAM", "guided backprop"].includes(method);

/** The parts that a map is made of. */
export function keysOf({ m, i, c, method }) {
  const guided = `guided/${m}/${i}/${c}`;
  const maps = (name) => `maps/${m}/${i}/${c}/${name}`;
  if (method === "guided backprop") return [guided];
  if (method === "guided Grad-CAM") return [maps("Grad-CAM"), guided];
  if (method.endsWith(MINUS)) return [maps(method.slice(0, -MINUS.length)), maps("Grad-CAM")];
  return [maps(method)];
}

/**
 * One map at its picture's size, or null while something is missing.
 *
 * `values` holds its positive part, or with `signed` both signs; of the guided methods the largest
 * magnitude among the channels, and with `signed` also each channel in `planes`.
 */
export function fieldOf(store, which) {
  const { i, layer, method, signed } = which;
  const size = store.get(`picture/${i}`)?.size;
  const [first, second] = keysOf(which).map((key) => store.get(key));
  if (!size || !first || first.error || second === null || second?.error) return null;
  let values;
  let planes = null;
  if (GUIDED.includes(method)) {
    const weights = second && layered(first, layer);
    if (second && !weights) return null;
    planes = guidedPlanes(second ?? first, size, weights);
    values = strongest(planes, signed);
    if (!signed) planes = null;
  } else if (method.endsWith(MINUS)) {
    const [mine, reference] = [layered(first, layer), layered(second, layer)];
    if (!mine || !reference) return null;
    values = difference(mine, reference, size);
  } else {
    const map = layered(first, layer);
    if (!map) return null;
    values = upsample(map.values, map.shape, size, map.unit, !signed);
  }
  return { size, values, planes, signed: signed || method.endsWith(MINUS), ...extremes(values) };
}

function guidedPlanes({ shape: [C, h, w], values, unit }, size, weights) {
  const up = weights && upsample(weights.values, weights.shape, size, weights.unit, true);
  return Array.from({ length: C }, (_, c) => {
    const plane = upsample(values.subarray(c * h * w, (c + 1) * h * w), [h, w], size, unit);
    if (up) for (let k = 0; k < plane.length; k++) plane[k] *= up[k];
    return plane;
  });
}

/** At each pixel the value that is largest in magnitude, or (not signed) that magnitude. */
function strongest(planes, signed) {
  const out = new Float32Array(planes[0].length);
  for (const plane of planes) {
    for (let k = 0; k < out.length; k++) {
      if (Math.abs(plane[k]) > Math.abs(out[k])) out[k] = signed ? plane[k] : Math.abs(plane[k]);
    }
  }
  return out;
}

function difference(mine, reference, size) {
  const a = upsample(mine.values, mine.shape, size, mine.unit);
  const b = upsample(reference.values, reference.shape, size, reference.unit);
  for (let k = 0; k < a.length; k++) a[k] -= b[k];
  return a;
}

/** Where the map is highest and lowest (the first of equals), and its largest magnitude. */
function extremes(values) {
  let top = 0;
  let bottom = 0;
  for (let k = 1; k < values.length; k++) {
    if (values[k] > values[top]) top = k;
    if (values[k] < values[bottom]) bottom = k;
  }
  return { top, bottom, peak: Math.max(Math.abs(values[top]), Math.abs(values[bottom])) };
}

const keyOf = ({ m, i, c, layer, method, signed }) =>
  [m, i, c, hasLayers(method) ? layer : "", method, signed].join("\n");

/** Fields worked out from a store, the last ones kept; and the common scale of many. */
export class Heats {
  fields = new Map();
  peaks = new Map();
  kept = 60;

  constructor(store) {
    this.store = store;
    store.replaced = () => {
      this.fields.clear();
      this.peaks.clear();
    };
  }

  field(which) {
    const key = keyOf(which);
    let field = this.fields.get(key);
    if (!field) {
      field = fieldOf(this.store, which);
      if (!field) return null;
      this.peaks.set(key, field.peak);
    }
    this.fields.delete(key);
    this.fields.set(key, field);
    if (this.fields.size > this.kept) this.fields.delete(this.fields.keys().next().value);
    return field;
  }

  /** The value at the end of the colour scale. */
  limit(which, scale, layers) {
    const own = this.field(which)?.peak ?? 0;
    if (scale !== "all") return own;
    const classes = this.store.get(`scores/${which.m}/${which.i}`)?.classes ?? [];
    let highest = own;
    for (const c of classes) {
      for (const layer of hasLayers(which.method) ? layers : [which.layer]) {
        const each = { ...which, c, layer };
        const peak = this.peaks.get(keyOf(each)) ?? this.field(each)?.peak ?? 0;
        highest = Math.max(highest, peak);
      }
    }
    return highest;
  }
}
