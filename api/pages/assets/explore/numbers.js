// Numbers as a reader needs them.

/** `value` with as many digits as tell a step of `step`. */
export function text(value, step = Math.abs(value) / 1e3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return value.toExponential(2).replace("e+", "e");
  const digits = step > 0 ? Math.max(0, Math.min(8, 1 - Math.floor(Math.log10(step)))) : 3;
  return value.toFixed(digits);
}

/** A value with its standard error, both to the error's second digit. */
export function withError(value, sigma) {
  if (!Number.isFinite(sigma) || sigma === null || sigma <= 0) return text(value);
  if (sigma > 100 * Math.abs(value)) return `${text(value)}, error unknown`;
  if (Math.abs(value) >= 1e5) return `${text(value)} ± ${text(sigma)}`;
  const digits = Math.max(0, Math.min(8, 1 - Math.floor(Math.log10(sigma))));
  return `${value.toFixed(digits)} ± ${sigma.toFixed(digits)}`;
}

/** Round numbers from `low` to `high`, about `n` of them and at least two. */
export function ticks(low, high, n = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const steps = [10, 5, 2, 1, 0.5, 0.2, 0.1].map((factor) => factor * power);
  const widest = steps.findLastIndex((step) => step >= raw * 0.99);
  return steps.slice(widest).map((step) => multiples(step, low, high)).find((found) => found.length > 1) ?? [low, high];
}

/** All multiples of `step` from `low` to `high`. */
function multiples(step, low, high) {
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

/** Powers of ten from `low` to `high`; their doubles and fivefolds too where there are fewer than two. */
export function decades(low, high) {
  const powers = Array.from({ length: 40 }, (_, i) => 10 ** (i - 20));
  const [few, more] = [[1], [1, 2, 5]].map((factors) => powers.flatMap((power) => factors.map((factor) => factor * power)));
  const inside = (values) => values.filter((value) => value >= low && value <= high);
  return inside(few).length > 1 ? inside(few) : inside(more);
}

/** The largest of 1, 2 and 5 times a power of ten that is not above `most`. */
export function roundBelow(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map((factor) => factor * power).find((candidate) => candidate <= most * (1 + 1e-9));
}

/** The values at two fractions (0 to 1) of all that are finite. */
export function percentiles(values, low, high) {
  const step = Math.max(1, Math.floor(values.length / 60000));
  const room = new Float32Array(Math.ceil(values.length / step));
  let n = 0;
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) room[n++] = values[i];
  if (!n) return [0, 1];
  const sample = room.subarray(0, n).sort();  // numbers in a typed array sort ten times as fast as by a function
  const at = (fraction) => sample[Math.round(fraction * (sample.length - 1))];
  return at(low) < at(high) ? [at(low), at(high)] : [sample[0], sample.at(-1) > sample[0] ? sample.at(-1) : sample[0] + 1];
}
