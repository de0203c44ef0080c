// Loss on held-out text: the same sequences at every evaluation, without dropout and without gradients.
import { contiguous, headWeight, hiddenStates } from '#runtime/model/main.ts';
import type { Model } from '#runtime/model/main.ts';
import { crossEntropy, scope, sum, tensor } from '#runtime/tensor/main.ts';
import type { Batch } from './step.ts';

/** Mean loss in nats per token over `batches` of sequences of `length` tokens. Waits once per batch. */
export async function evaluate(model: Model, batches: Iterable<Batch>, length: number): Promise<number> {
  let [total, tokens] = [0, 0];
  for (const batch of batches) {
    const [loss] = await scope(() => {
      const ids = tensor(model.device, batch.inputs, [batch.inputs.length], 'held-out inputs');
      const targets = tensor(model.device, batch.targets, [batch.targets.length], 'held-out targets');
      const hidden = hiddenStates(model, ids, contiguous({ length }));
      return sum(crossEntropy(hidden, headWeight(model), targets, { weight: 1 })).read();
    });
    total += loss ?? NaN;
    tokens += batch.inputs.length;
  }
  return total / tokens;
}

/** Whether training should end early: `patience` evaluations without a better loss. Pure; the state travels with the checkpoint. */
export function noteEvaluation<S extends { bestHeldOutLoss?: number | undefined; evaluationsSinceBest: number }>(
  state: S,
  loss: number,
): S & { lastHeldOutLoss: number } {
  const isBest = loss < (state.bestHeldOutLoss ?? Infinity);
  return {
    ...state,
    lastHeldOutLoss: loss,
    bestHeldOutLoss: isBest ? loss : state.bestHeldOutLoss,
    evaluationsSinceBest: isBest ? 0 : state.evaluationsSinceBest + 1,
  };
}
