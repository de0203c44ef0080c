// Cosines and sines of rotary angles, computed in double and rounded once.
import type { RopeScaling } from './config.ts';

/** Angle of position p and pair i is p * theta^(-2i / headSize) (Su et al. 2021), stretched by `scaling`. Row-major [positions, headSize / 2]. */
export function ropeTable(
  positions: number,
  headSize: number,
  theta: number,
  scaling?: RopeScaling,
): { cos: Float32Array; sin: Float32Array } {
  const pairs = headSize / 2;
  const cos = new Float32Array(positions * pairs);
  const sin = new Float32Array(positions * pairs);
  const frequencies = Array.from({ length: pairs }, (_, pair) => stretched(theta ** ((-2 * pair) / headSize), scaling));
  for (let position = 0; position < positions; position += 1) {
    for (const [pair, frequency] of frequencies.entries()) {
      cos[position * pairs + pair] = Math.cos(position * frequency);
      sin[position * pairs + pair] = Math.sin(position * frequency);
    }
  }
  return { cos, sin };
}

/**
 * Llama 3 leaves waves shorter than originalContextLength / highFrequencyFactor, slows those longer than
 * originalContextLength / lowFrequencyFactor down by `factor`, and blends in between.
 */
function stretched(frequency: number, scaling: RopeScaling | undefined): number {
  if (!scaling) return frequency;
  const slow = frequency / scaling.factor;
  if (scaling.kind === 'linear') return slow;
  const { lowFrequencyFactor: low, highFrequencyFactor: high, originalContextLength } = scaling;
  const turns = (originalContextLength * frequency) / (2 * Math.PI);
  if (turns > high) return frequency;
  if (turns < low) return slow;
  const share = (turns - low) / (high - low);
  return (1 - share) * slow + share * frequency;
}
