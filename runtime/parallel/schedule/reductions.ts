// Which reductions of a rank may begin during the action before them, unit by unit, and which stand on their own.
import type { Action } from '#runtime/api/schedule/action.ts';
import { givesWeightGradient, isCompute } from '#runtime/api/schedule/action.ts';

/** By position of a weight gradient, the position of the reduction of the same that follows before anything else is computed. */
export function joinedReductions(actions: readonly Action[]): Map<number, number> {
  const joined = new Map<number, number>();
  /** Position of the newest compute action, until its stage is reduced. */
  let newest: number | undefined;
  for (const [at, action] of actions.entries()) {
    if (isCompute(action)) newest = at;
    const before = newest === undefined ? undefined : actions[newest];
    if (action.type !== 'reduce' || before?.stage !== action.stage) continue;
    const isOfSame = action.grain === undefined || action.grain === before.grain;
    if (isOfSame && givesWeightGradient(before.type)) joined.set(newest!, at);
    newest = undefined;
  }
  return joined;
}
