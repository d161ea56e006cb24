/* Painting on a picture: pure functions on RGB bytes. */

/** A copy of a picture, each pixel the mean of the square around it. */
export function blurred(rgb, [H, W], radius) {
  const across = sums(rgb, H, W, radius, 3, 3 * W);
  return Uint8ClampedArray.from(sums(across, W, H, radius, 3 * W, 3));
}

/** Running means along one axis: `count` lines of `length`, stepping as told. */
function sums(values, count, length, radius, step, stride) {
  const out = new Float32Array(values.length);
  for (let line = 0; line < count; line++) {
    for (let c = 0; c < 3; c++) {
      const start = line * stride + c;
      let total = 0;
      let number = 0;
      for (let k = -radius; k < length; k++) {
        if (k + radius < length) {
          total += values[start + (k + radius) * step];
          number++;
        }
        if (k - radius - 1 >= 0) {
          total -= values[start + (k - radius - 1) * step];
          number--;
        }
        if (k >= 0) out[start + k * step] = total / number;
      }
    }
  }
  return out;
}

/** The mean colour of a ring round a disc, of what is still as it was. */
export function around(rgb, painted, [H, W], [x, y], radius) {
  const sum = [0, 0, 0];
  let count = 0;
  const reach = radius + Math.max(2, radius / 2);
  each([H, W], [x, y], reach, (k, distance) => {
    if (distance <= radius || painted[k]) return;
    for (let c = 0; c < 3; c++) sum[c] += rgb[3 * k + c];
    count++;
  });
  return count ? sum.map((value) => Math.round(value / count)) : [128, 128, 128];
}

/** Call for each pixel of a disc with its place and its distance from the middle. */
export function each([H, W], [x, y], radius, visit) {
  const low = (at) => Math.max(0, Math.floor(at - radius));
  for (let v = low(y); v <= Math.min(H - 1, y + radius); v++) {
    for (let u = low(x); u <= Math.min(W - 1, x + radius); u++) {
      const distance = Math.hypot(u - x, v - y);
      if (distance <= radius) visit(v * W + u, distance);
    }
  }
}

/** A picture being painted on, with its past. */
export class Painting {
  past = [];

  constructor(rgb, size) {
    this.original = rgb;
    this.size = size;
    this.rgb = rgb.slice();
    this.painted = new Uint8Array(rgb.length / 3);
  }

  get touched() {
    return this.painted.includes(1);
  }

  /** Remember the state that undo goes back to. */
  begin() {
    this.past.push([this.rgb.slice(), this.painted.slice()]);
    if (this.past.length > 50) this.past.shift();
  }

  /** Paint a disc: "gray", "blur", "around", or "back" for the picture as it was. */
  dab(at, radius, fill) {
    if (fill === "blur") {
      this.blur ??= blurred(this.original, this.size, Math.ceil(Math.max(...this.size) / 8));
    }
    const colour =
      fill === "around" ? around(this.original, this.painted, this.size, at, radius) : null;
    each(this.size, at, radius, (k) => {
      for (let c = 0; c < 3; c++) {
        const place = 3 * k + c;
        if (fill === "back") this.rgb[place] = this.original[place];
        else this.rgb[place] = colour ? colour[c] : fill === "blur" ? this.blur[place] : 128;
      }
      this.painted[k] = fill === "back" ? 0 : 1;
    });
  }

  undo() {
    const last = this.past.pop();
    if (last) [this.rgb, this.painted] = last;
    return Boolean(last);
  }

  clear() {
    this.begin();
    this.rgb = this.original.slice();
    this.painted = new Uint8Array(this.painted.length);
  }
}
