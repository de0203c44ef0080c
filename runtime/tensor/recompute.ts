// Recomputation: only the inputs of a part of the model are kept, and its forward pass runs again when its gradients are due.
import { scope } from './scope.ts';
import { activeTape, withoutTape } from './tape.ts';
import type { Tensor } from './tensor.ts';

/**
 * Runs `fn` without keeping its activations; the backward pass runs it again, with the same bits: `fn` must read nothing that changes
 * in between and draw random numbers by key (`dropout`). It returns all its results in one array.
 *
 * @param inputs every tensor that `fn` reads and that is not a parameter: they are kept until then.
 */
export function checkpoint<const R extends readonly Tensor[]>(fn: () => R, inputs: readonly Tensor[]): R {
  const tape = activeTape();
  if (!tape) return scope(fn);
  const outputs = withoutTape(() => scope(fn));
  tape.push({
    operation: 'checkpoint',
    outputs,
    saved: inputs,
    backward(gradients) {
      const again = tape.fork();
      try {
        const recomputed = again.record(() => scope(fn));
        for (const [index, output] of outputs.entries()) {
          const twin = recomputed[index];
          if (twin) gradients.move(output, twin);
        }
        again.walkBack(gradients);
      } finally {
        again.clear();
      }
    },
  });
  return outputs;
}
