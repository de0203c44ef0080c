// How parameters find their weights in flat memory: as they are, or read as bf16.
import { roundedView, view } from '#runtime/tensor/main.ts';
import type { Precision, Tensor } from '#runtime/tensor/main.ts';
import type { PlacedParameter } from './gradient-sums.ts';

/** Attaches a parameter to its place in the flat weights of its unit. The caller owns the view, which lives as long as it is attached. */
export type Attach = (flat: Tensor, placed: PlacedParameter) => Tensor;

/**
 * With bf16 tables and the weights of products are read as the bf16 numbers nearest to what stands there, which is f32: no second copy. Norms
 * and biases are read in f32, and so are the experts of a mixture with their router, which compute in f32.
 */
export function attachment(precision: Precision): Attach {
  return (flat, { parameter, entry }) => {
    const isRounded = precision === 'bf16' && parameter.shape.length === 2 && !/\.(router|experts)\./.test(entry.spec.name);
    const part = (isRounded ? roundedView : view)(flat, entry.offset, parameter.shape, parameter.label);
    parameter.attach(part);
    return part;
  };
}
