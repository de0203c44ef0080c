// The slopes by which attention with linear biases falls off with the distance of a key.

/**
 * Slopes of all heads (Press et al. 2022, section 3): powers of 2^(-8 / n), n the largest power of two up to `heads`; further heads take every
 * other one of twice as many.
 */
export function alibiSlopes(heads: number): Float32Array {
  const whole = 2 ** Math.floor(Math.log2(heads));
  return Float32Array.from({ length: heads }, (_, head) =>
    head < whole ? 2 ** ((-8 * (head + 1)) / whole) : 2 ** ((-4 * (2 * (head - whole) + 1)) / whole),
  );
}
