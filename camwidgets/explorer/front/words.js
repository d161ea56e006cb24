import { hasLayers, MINUS } from "./heat.js";
import { number } from "./numbers.js";
import { box, tightBox } from "./paint.js";

/** What the picture shows, in a line; `caption` in display.py writes the same one. */
export function caption({ model, method, layer, name, score, scoreName, field, mask, bar }) {
  const only = name === scoreName;
  const parts = [model, method, hasLayers(method) ? layer : "", only ? "" : name];
  parts.push(`${scoreName} ${number(score)}`);
  const W = field.size[1];
  const at = (k) => `${number(field.values[k])} at (${k % W}, ${Math.floor(k / W)})`;
  const { values, top, bottom, signed } = field;
  if (method.endsWith(MINUS)) {
    parts.push(`largest difference ${number(field.peak)}`);
  } else if (!(signed ? field.peak : values[top]) > 0) {
    const where = hasLayers(method) ? "at this layer " : method === "CAM" ? "in the last map " : "";
    const what = only ? "output" : "class";
    parts.push(`blank: nothing ${where}speaks ${signed ? "for or against" : "for"} this ${what}`);
  } else {
    if (values[top] > 0) parts.push(`hottest ${at(top)}`);
    if (signed && values[bottom] < 0) parts.push(`most against ${at(bottom)}`);
    const found = mask && values[top] > 0 ? measures(field, mask, bar) : null;
    if (found) {
      parts.push(`${Math.round(100 * found.mass)} % of the heat inside the outline`);
      parts.push(`pointing ${found.hit === 1 ? "hit" : found.hit === 0 ? "miss" : "tie"}`);
      if (bar > 0) parts.push(`box IoU ${found.iou.toFixed(2)}`);
    }
  }
  return parts.filter(Boolean).join(" · ");
}

/** How a map does against a mask: pointing hit, share of the heat inside, IoU of the boxes. */
export function measures({ values, size, top }, mask, bar) {
  if (!mask.includes(1)) return null;
  let [all, inside, maxima, hits] = [0, 0, 0, 0];
  for (let k = 0; k < values.length; k++) {
    if (values[k] > 0) {
      all += values[k];
      if (mask[k]) inside += values[k];
    }
    if (values[k] === values[top]) {
      maxima++;
      if (mask[k]) hits++;
    }
  }
  const found = bar > 0 ? box({ values, size }, bar) : null;
  return {
    mass: all > 0 ? inside / all : 0,
    hit: hits / maxima,
    iou: found ? iou(found, tightBox(mask, size)) : 0,
  };
}

function iou(a, b) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (r) => (r[2] - r[0]) * (r[3] - r[1]);
  return (width * height) / (area(a) + area(b) - width * height);
}

/** A rectangle's share of the heat and of the picture. */
export function rectangleWords({ values, size: [H, W] }, [left, top, right, bottom]) {
  let [all, inside] = [0, 0];
  for (let k = 0; k < values.length; k++) {
    if (!(values[k] > 0)) continue;
    const x = k % W;
    const y = (k - x) / W;
    all += values[k];
    if (x >= left && x < right && y >= top && y < bottom) inside += values[k];
  }
  const area = ((right - left) * (bottom - top)) / (W * H);
  const heat = all > 0 ? `${Math.round((100 * inside) / all)} % of the heat` : "no heat";
  const part = 100 * area < 1 ? "less than 1" : Math.round(100 * area);
  return `rectangle ${right - left} × ${bottom - top}: ${heat} on ${part} % of the picture`;
}

/** The value under the pointer. */
export function pointWords({ values, size: [, W] }, x, y, limit) {
  const value = values[y * W + x];
  const share = limit > 0 ? ` (${Math.round((100 * value) / limit)} % of the scale)` : "";
  return `x ${x}, y ${y}: ${number(value)}${share}`;
}
