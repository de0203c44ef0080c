// Cuts a model into pipeline stages of nearly equal cost.

/**
 * Runs of units, one per stage, as [begin, end) of the list of units: none is empty, the dearest stage is as cheap as possible, and among
 * such cuts the sum of squares is least. `costs` are those of the units, in any unit of time or work.
 */
export function cutStages(costs: readonly number[], stages: number): (readonly [begin: number, end: number])[] {
  const units = costs.length;
  if (stages < 1 || stages > units) throw new Error(`internal: ${units} units can't fill ${stages} stages`);
  const before = [0];
  for (const cost of costs) before.push(before.at(-1)! + cost);
  /** cuts[s][n]: the best cut of the first n units into s + 1 stages. */
  const cuts: (Cut | undefined)[][] = [];
  for (let stage = 0; stage < stages; stage += 1) {
    const best: (Cut | undefined)[] = [undefined];
    for (let end = 1; end <= units; end += 1) best.push(bestCut(before, cuts[stage - 1], end));
    cuts.push(best);
  }
  const runs: (readonly [number, number])[] = [];
  for (let stage = stages - 1, end = units; stage >= 0; stage -= 1) {
    const { begin } = cuts[stage]![end]!;
    runs.unshift([begin, end]);
    end = begin;
  }
  return runs;
}

interface Cut {
  /** First unit of the last stage. */
  readonly begin: number;
  readonly dearest: number;
  readonly squares: number;
}

function bestCut(before: readonly number[], shorter: readonly (Cut | undefined)[] | undefined, end: number): Cut | undefined {
  let best: Cut | undefined;
  for (let begin = shorter ? end - 1 : 0; begin >= 0; begin -= 1) {
    const head = shorter ? shorter[begin] : { dearest: 0, squares: 0 };
    if (!head) continue;
    const cost = before[end]! - before[begin]!;
    const dearest = Math.max(head.dearest, cost);
    const squares = head.squares + cost * cost;
    if (!best || dearest < best.dearest || (dearest === best.dearest && squares < best.squares))
      best = { begin, dearest, squares };
  }
  return best;
}
