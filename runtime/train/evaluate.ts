// Loss on held-out text: the same sequences at every evaluation, without dropout and without gradients.
import type { Batch, RankExecution } from '#runtime/parallel/main.ts';

/** Mean loss in nats per token over `batches`; the same on all ranks. */
export async function evaluate(execution: RankExecution, batches: readonly Batch[]): Promise<number> {
  const sums = await execution.evaluate(batches);
  const tokens = batches.reduce((count, { inputs }) => count + inputs.length, 0);
  return sums.reduce((total, sum) => total + sum, 0) / tokens;
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
