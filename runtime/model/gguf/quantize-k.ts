// Blocks of 256 values with scales of their own for runs of 16 or 32, searched for as ggml's reference does: all steps in float32.

const f32 = Math.fround;
/** Adding it to a float32 number leaves the nearest whole number in the low bits, ties to even. */
const rounder = 12_582_912;
/** A run whose values are all smaller is zero. */
const negligible = f32(1e-15);

function nearest(value: number): number {
  return f32(f32(value) + rounder) - rounder;
}

function clamped(value: number, from: number, to: number): number {
  return Math.max(from, Math.min(to, value));
}

const quants = new Uint8Array(256);
const scales = new Float32Array(16);
const minima = new Float32Array(8);
const weights = new Float32Array(32);
const trial = new Uint8Array(32);

/** f16 d and dmin, 6-bit scales and minima of 8 runs of 32, nibbles. */
export function encodeQ4K(x: Float32Array, view: DataView, at: number): void {
  encodeRuns(x, view, at, { limit: 15, first: -1, steps: 20 });
  for (let j = 0; j < 4; j += 1)
    for (let l = 0; l < 32; l += 1) view.setUint8(at + 16 + 32 * j + l, quants[64 * j + l]! | (quants[64 * j + l + 32]! << 4));
}

/** As Q4_K, with the fifth bits of all runs in 32 bytes. */
export function encodeQ5K(x: Float32Array, view: DataView, at: number): void {
  encodeRuns(x, view, at, { limit: 31, first: -0.5, steps: 15 });
  for (let l = 0; l < 32; l += 1) {
    let fifth = 0;
    for (let run = 0; run < 8; run += 1) fifth |= (quants[32 * run + l]! >> 4) << run;
    view.setUint8(at + 16 + l, fifth);
  }
  for (let j = 0; j < 4; j += 1) {
    for (let l = 0; l < 32; l += 1)
      view.setUint8(at + 48 + 32 * j + l, (quants[64 * j + l]! & 15) | ((quants[64 * j + l + 32]! & 15) << 4));
  }
}

interface Search {
  /** Largest quant. */
  readonly limit: number;
  /** The range is tried with `limit` + first + 0.1 k steps in it, k from 0 to `steps`. */
  readonly first: number;
  readonly steps: number;
}

/** Writes d, dmin and the scales of a block and leaves its quants in `quants`. */
function encodeRuns(x: Float32Array, view: DataView, at: number, search: Search): void {
  let largestScale = 0;
  let largestMinimum = 0;
  for (let run = 0; run < 8; run += 1) {
    const values = x.subarray(32 * run, 32 * run + 32);
    let squares = 0;
    for (let l = 0; l < 32; l += 1) squares = f32(squares + f32(values[l]! * values[l]!));
    const mean = f32(Math.sqrt(f32(squares / 32)));
    for (let l = 0; l < 32; l += 1) weights[l] = mean + Math.abs(values[l]!);
    const found = searchRun(values, quants.subarray(32 * run, 32 * run + 32), search);
    scales[run] = found.scale;
    minima[run] = found.minimum;
    largestScale = Math.max(largestScale, found.scale);
    largestMinimum = Math.max(largestMinimum, found.minimum);
  }
  view.setFloat16(at, f32(largestScale / 63), true);
  view.setFloat16(at + 2, f32(largestMinimum / 63), true);
  const toScale = largestScale > 0 ? f32(63 / largestScale) : 0;
  const toMinimum = largestMinimum > 0 ? f32(63 / largestMinimum) : 0;
  const [d, dmin] = [view.getFloat16(at, true), view.getFloat16(at + 2, true)];
  const packed = new Uint8Array(12);
  for (let run = 0; run < 8; run += 1) {
    const scale = Math.min(63, nearest(f32(toScale * scales[run]!)) & 255);
    const minimum = Math.min(63, nearest(f32(toMinimum * minima[run]!)) & 255);
    packSix(packed, run, scale, minimum);
    const step = f32(d * scale);
    if (step === 0) continue;
    const below = f32(dmin * minimum);
    for (let l = 32 * run; l < 32 * run + 32; l += 1)
      quants[l] = clamped(nearest(f32(f32(x[l]! + below) / step)), 0, search.limit);
  }
  for (let j = 0; j < 12; j += 1) view.setUint8(at + 4 + j, packed[j]!);
}

/** Six bits each: of the first four runs in a byte of their own, of the others four bits in one byte and two in the upper part of another. */
function packSix(packed: Uint8Array, run: number, scale: number, minimum: number): void {
  if (run < 4) {
    packed[run] = scale;
    packed[run + 4] = minimum;
    return;
  }
  packed[run + 4] = (scale & 15) | ((minimum & 15) << 4);
  packed[run - 4]! |= (scale >> 4) << 6;
  packed[run]! |= (minimum >> 4) << 6;
}

/**
 * The scale and minimum (negated, >= 0) of a run for which the weighted squares of the errors are least among those that were tried: for each
 * number of steps the quants are rounded, and the line through them is fitted by least squares.
 */
function searchRun(x: Float32Array, out: Uint8Array, { limit, first, steps }: Search): { scale: number; minimum: number } {
  let [low, high, sumW, sumX] = [x[0]!, x[0]!, weights[0]!, f32(weights[0]! * x[0]!)];
  for (let i = 1; i < 32; i += 1) {
    low = Math.min(low, x[i]!);
    high = Math.max(high, x[i]!);
    sumW = f32(sumW + weights[i]!);
    sumX = f32(sumX + f32(weights[i]! * x[i]!));
  }
  low = Math.min(low, 0);
  if (high === low) {
    out.fill(0);
    return { scale: 0, minimum: -low };
  }
  let minimum = low;
  let inverse = f32(limit / f32(high - low));
  let scale = f32(1 / inverse);
  for (let i = 0; i < 32; i += 1) out[i] = clamped(nearest(f32(inverse * f32(x[i]! - low))), 0, limit);
  let smallest = weightedError(x, out, scale, minimum);
  for (let step = 0; step <= steps; step += 1) {
    // The range begins where the best line so far does, as in the reference.
    inverse = f32(f32(f32(first + f32(f32(0.1) * step)) + limit) / f32(high - minimum));
    let [sumL, sumL2, sumXL] = [0, 0, 0];
    for (let i = 0; i < 32; i += 1) {
      const l = clamped(nearest(f32(inverse * f32(x[i]! - minimum))), 0, limit);
      trial[i] = l;
      const wl = f32(weights[i]! * l);
      sumL = f32(sumL + wl);
      sumL2 = f32(sumL2 + f32(wl * l));
      sumXL = f32(sumXL + f32(wl * x[i]!));
    }
    const determinant = f32(f32(sumW * sumL2) - f32(sumL * sumL));
    if (!(determinant > 0)) continue;
    let slope = f32(f32(f32(sumW * sumXL) - f32(sumX * sumL)) / determinant);
    let start = f32(f32(f32(sumL2 * sumX) - f32(sumL * sumXL)) / determinant);
    if (start > 0) {
      start = 0;
      slope = f32(sumXL / sumL2);
    }
    const error = weightedError(x, trial, slope, start);
    if (!(error < smallest)) continue;
    out.set(trial);
    [smallest, scale, minimum] = [error, slope, start];
  }
  return { scale, minimum: -minimum };
}

function weightedError(x: Float32Array, of: Uint8Array, scale: number, minimum: number): number {
  let sum = 0;
  for (let i = 0; i < 32; i += 1) {
    const difference = f32(f32(f32(scale * of[i]!) + minimum) - x[i]!);
    sum = f32(sum + f32(weights[i]! * f32(difference * difference)));
  }
  return sum;
}

/** Nibbles, upper bit pairs, 16 signed scales of runs of 16, f16 d. */
export function encodeQ6K(x: Float32Array, view: DataView, at: number): void {
  let largest = 0;
  for (let run = 0; run < 16; run += 1) {
    scales[run] = searchSymmetric(x.subarray(16 * run, 16 * run + 16), quants.subarray(16 * run, 16 * run + 16));
    if (Math.abs(scales[run]!) > Math.abs(largest)) largest = scales[run]!;
  }
  if (Math.abs(largest) < negligible) {
    for (let j = 0; j < 210; j += 1) view.setUint8(at + j, 0);
    return;
  }
  const inverse = f32(-128 / largest);
  view.setFloat16(at + 208, f32(1 / inverse), true);
  const d = view.getFloat16(at + 208, true);
  for (let run = 0; run < 16; run += 1) {
    const scale = Math.min(127, nearest(f32(inverse * scales[run]!)));
    view.setInt8(at + 192 + run, scale);
    const step = f32(d * scale);
    if (step === 0) continue;
    for (let l = 16 * run; l < 16 * run + 16; l += 1) quants[l] = clamped(nearest(f32(x[l]! / step)), -32, 31) + 32;
  }
  for (let half = 0; half < 2; half += 1) {
    for (let l = 0; l < 32; l += 1) {
      const [a, b, c, e] = [0, 32, 64, 96].map((quarter) => quants[128 * half + quarter + l]!) as [
        number,
        number,
        number,
        number,
      ];
      view.setUint8(at + 64 * half + l, (a & 15) | ((c & 15) << 4));
      view.setUint8(at + 64 * half + 32 + l, (b & 15) | ((e & 15) << 4));
      view.setUint8(at + 128 + 32 * half + l, (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((e >> 4) << 6));
    }
  }
}

/** The scale of a run of 16 around zero, quants from -32 to 31 (kept with 32 added), each error weighted by the square of its value. */
function searchSymmetric(x: Float32Array, out: Uint8Array): number {
  let extreme = 0;
  for (let i = 0; i < 16; i += 1) if (Math.abs(x[i]!) > Math.abs(extreme)) extreme = x[i]!;
  if (Math.abs(extreme) < negligible) {
    out.fill(0);
    return 0;
  }
  let scale = 0;
  let best = 0;
  for (const step of [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
    const inverse = f32(-f32(32 + f32(f32(0.1) * step)) / extreme);
    let [sumXL, sumL2] = [0, 0];
    for (let i = 0; i < 16; i += 1) {
      const l = clamped(nearest(f32(inverse * x[i]!)), -32, 31);
      trial[i] = l + 32;
      const w = f32(x[i]! * x[i]!);
      sumXL = f32(sumXL + f32(f32(w * x[i]!) * l));
      sumL2 = f32(sumL2 + f32(f32(w * l) * l));
    }
    const isBetter = step === 0 || (sumL2 > 0 && f32(sumXL * sumXL) > f32(best * sumL2));
    if (!isBetter) continue;
    out.set(trial.subarray(0, 16));
    scale = sumL2 > 0 ? f32(sumXL / sumL2) : 0;
    best = f32(scale * sumXL);
  }
  return scale;
}
