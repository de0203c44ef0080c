// Cosines and sines of rotary angles, computed in double and rounded once.

/** Angle of position p and pair i is p * theta^(-2i / headSize) (Su et al. 2021). Row-major [positions, headSize / 2]. */
export function ropeTable(positions: number, headSize: number, theta: number): { cos: Float32Array; sin: Float32Array } {
  const pairs = headSize / 2;
  const cos = new Float32Array(positions * pairs);
  const sin = new Float32Array(positions * pairs);
  const frequencies = Array.from({ length: pairs }, (_, pair) => theta ** ((-2 * pair) / headSize));
  for (let position = 0; position < positions; position += 1) {
    for (const [pair, frequency] of frequencies.entries()) {
      cos[position * pairs + pair] = Math.cos(position * frequency);
      sin[position * pairs + pair] = Math.sin(position * frequency);
    }
  }
  return { cos, sin };
}
