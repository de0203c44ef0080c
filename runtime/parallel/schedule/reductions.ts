// Which reductions of a rank may begin during the action before them, unit by unit, and which stand on their own.
import type { Action } from '#runtime/api/schedule/action.ts';
import { givesWeightGradient, isCompute } from '#runtime/api/schedule/action.ts';

/** By position of a weight gradient, the position of the reduction that follows before anything else of the stage is computed. */
export function joinedReductions(actions: readonly Action[]): Map<number, number> {
  const joined = new Map<number, number>();
  /** Position of the newest compute action of each stage, if it gave a weight gradient. */
  const open = new Map<number, number>();
  for (const [at, action] of actions.entries()) {
    const { stage, type } = action;
    if (isCompute(action)) {
      if (givesWeightGradient(type)) open.set(stage, at);
      else open.delete(stage);
    }
    if (type !== 'reduce') continue;
    const before = open.get(stage);
    if (before !== undefined && (action.grain === undefined || action.grain === actions[before]?.grain)) joined.set(before, at);
    // Another grain goes first: what comes after it must not overtake it.
    open.delete(stage);
  }
  return joined;
}
