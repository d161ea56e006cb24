/** Three significant digits, as `number` in display.py writes them. */
export function number(x) {
  if (!Number.isFinite(x)) return String(x);
  const size = Math.abs(x);
  const short = x !== 0 && (size < 1e-3 || size >= 1e5);
  return short ? x.toExponential(2) : String(Number(x.toPrecision(3)));
}

/** A share from 0 to 1 as a percentage; small ones keep a decimal. */
export function percent(share) {
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}
