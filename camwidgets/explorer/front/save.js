import { number } from "./numbers.js";
import { outline } from "./paint.js";

const SIDE = 640;

/** Panes side by side as a PNG with outline, colour bar and captions. */
export async function picture(panes, lines) {
  const zooms = panes.map(({ shown }) => Math.max(1, Math.round(SIDE / Math.max(...shown.size))));
  const sizes = panes.map(({ shown: { size } }, k) => size.map((side) => side * zooms[k]));
  const width = sizes.reduce((sum, [, W]) => sum + W + 90, 10);
  const height = Math.max(...sizes.map(([H]) => H)) + 20;
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  const font = "15px system-ui, sans-serif";
  pen.font = font;
  const rows = lines.flatMap((line) => wrapped(pen, line, width - 20));
  Object.assign(canvas, { width, height: height + 22 * rows.length + 8 });
  Object.assign(pen, { fillStyle: "#fff" });
  pen.fillRect(0, 0, canvas.width, canvas.height);
  let left = 10;
  panes.forEach((pane, k) => {
    onePane(pen, pane, left, sizes[k], zooms[k]);
    left += sizes[k][1] + 90;
  });
  Object.assign(pen, { font, fillStyle: "#1f2328", textBaseline: "top" });
  rows.forEach((row, k) => {
    pen.fillText(row, 10, height + 22 * k);
  });
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function onePane(pen, { canvas, strip, shown, boxPath }, left, [H, W], zoom) {
  pen.imageSmoothingQuality = "high";
  pen.drawImage(canvas, left, 10, W, H);
  pen.save();
  pen.translate(left, 10);
  pen.scale(zoom, zoom);
  const paths = [shown.outline ? outline(shown.outline, ...shown.size.toReversed()) : "", boxPath];
  for (const d of paths.filter(Boolean)) {
    for (const [colour, size] of [
      ["rgba(0, 0, 0, 0.6)", 4],
      ["#fff", 2],
    ]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: size / zoom });
      pen.stroke(new Path2D(d));
    }
  }
  pen.restore();
  pen.drawImage(strip, left + W + 8, 10, 12, H);
  const { limit, field } = shown;
  const ends = field?.signed ? [limit, 0, -limit] : [limit, limit / 2, 0];
  Object.assign(pen, { fillStyle: "#5b636b", font: "12px system-ui, sans-serif" });
  pen.textBaseline = "middle";
  ends.forEach((value, k) => {
    if (limit > 0 || value === 0) {
      pen.fillText(number(value), left + W + 25, 16 + (k / 2) * (H - 12));
    }
  });
}

function wrapped(pen, line, width) {
  const rows = [""];
  for (const word of line.split(" ")) {
    const longer = `${rows.at(-1)} ${word}`.trim();
    if (!rows.at(-1) || pen.measureText(longer).width <= width) rows[rows.length - 1] = longer;
    else rows.push(word);
  }
  return rows;
}

/** Hand a file to whoever reads the page. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
