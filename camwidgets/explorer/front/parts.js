/* What the kernel sends: each part is the length of a JSON header (4 bytes, little endian), the
 * header, and numbers. `Part.pack` in atlas.py writes them. */

const bytesOf = (data) =>
  data instanceof ArrayBuffer
    ? new Uint8Array(data)
    : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** One part, or null where there is none or it is damaged. */
export function unpack(data) {
  try {
    const bytes = bytesOf(data);
    const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    if (4 + length > bytes.length) return null;
    const part = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    if (typeof part?.key !== "string") return null;
    return part.error || read(part, bytes.subarray(4 + length)) ? part : null;
  } catch {
    return null;
  }
}

/** Turn the body into typed arrays of the part; false where it is too short. */
function read(part, body) {
  const kind = part.key.split("/").find((word) => word !== "asked");
  if (kind === "scores") return part.scores.length === part.classes.length;
  if (kind === "picture") {
    const count = part.size[0] * part.size[1];
    part.rgb = body.slice(0, 3 * count);
    part.outline = part.mask ? body.slice(3 * count, 4 * count) : null;
    return part.rgb.length === 3 * count && (!part.mask || part.outline.length === count);
  }
  const all = new Int16Array(body.slice(0, body.length & ~1).buffer);
  if (kind === "guided") {
    part.values = all;
    return all.length >= part.shape.reduce((a, b) => a * b, 1);
  }
  let at = 0;
  for (const map of part.maps) {
    const [h, w] = map.shape;
    map.values = all.subarray(at, at + h * w);
    at += h * w;
  }
  return kind === "maps" && all.length >= at;
}

/** The parts that have arrived, by their keys. */
export class Store {
  parts = new Map();

  add(part) {
    if (!part) return;
    if (this.parts.has(part.key)) this.replaced?.(part.key);
    this.parts.set(part.key, part);
  }

  get(key) {
    return this.parts.get(key) ?? null;
  }
}
