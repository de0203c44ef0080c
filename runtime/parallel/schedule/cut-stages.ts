// Cuts a model's layers into pipeline stages of about equal cost.
import { WindlassError } from '#runtime/api/errors.ts';

/** Layers `first` to `end` - 1 of one stage. */
export interface StageCut {
  readonly first: number;
  readonly end: number;
  readonly cost: number;
}

/**
 * `costs`: of the embedding, each block, and the head, in any one unit. Every stage gets one or more of them in a row; the first
 * stage begins with the embedding, the last ends with the head, and either may hold nothing else. The most expensive stage is as
 * cheap as can be; among cuts equal in that, the sum of squared costs is least, and then the earlier stages are shorter. Throws
 * WL_MANIFEST_INVALID if there are more stages than layers. Time: stages x layers^2.
 */
export function cutStages(costs: readonly number[], stages: number): StageCut[] {
  const layers = costs.length;
  if (stages > layers) {
    const path = 'spec.parallelism.pipeline';
    const parts = `${layers} parts (embedding, ${layers - 2} blocks, head)`;
    const message = `${stages} stages in all, but the model has ${parts}; at most ${layers} stages fit`;
    throw new WindlassError('WL_MANIFEST_INVALID', `${path}: ${message}`, { details: { path } });
  }
  const sums = costs.reduce<number[]>((list, cost) => [...list, list.at(-1)! + cost], [0]);
  const costOf = (first: number, end: number) => sums[end]! - sums[first]!;
  const limit = cheapest(layers, stages, (rest, first, end) => Math.max(rest, costOf(first, end))).value;
  const { starts } = cheapest(layers, stages, (rest, first, end) => {
    const cost = costOf(first, end);
    return cost > limit ? Infinity : rest + cost * cost;
  });
  return starts.map((first, stage) => {
    const end = starts[stage + 1] ?? layers;
    return { first, end, cost: costOf(first, end) };
  });
}

/** The cut with the least value, built stage by stage: `add` gives the value with one more stage. Starts of the stages. */
function cheapest(
  layers: number,
  stages: number,
  add: (value: number, first: number, end: number) => number,
): { readonly value: number; readonly starts: number[] } {
  let values = [0, ...Array<number>(layers).fill(Infinity)];
  const choices: number[][] = [];
  for (let stage = 1; stage <= stages; stage += 1) {
    const next = Array<number>(layers + 1).fill(Infinity);
    const choice = Array<number>(layers + 1).fill(stage - 1);
    for (let end = stage; end <= layers; end += 1) {
      for (let first = stage - 1; first < end; first += 1) {
        const value = add(values[first]!, first, end);
        if (value < next[end]!) [next[end], choice[end]] = [value, first];
      }
    }
    choices.push(choice);
    values = next;
  }
  const starts: number[] = [];
  let end = layers;
  for (const choice of choices.toReversed()) {
    end = choice[end]!;
    starts.unshift(end);
  }
  return { value: values[layers]!, starts };
}
