// Schedules that nobody would write: any order that a step can be worked through in, on any placement of the stages.
import fc from 'fast-check';

export interface RandomSchedule {
  readonly pipeline: number;
  readonly stages: number;
  readonly csv: string;
}

interface Wishes {
  readonly pipeline: number;
  readonly moreStages: number;
  readonly grains: number;
  /** Whether weights are gathered and gradients reduced by cells of their own: of each grain, of all, or not at all. */
  readonly sharding: 'none' | 'all grains' | 'each grain';
  /** What decides, as often as something is to be decided. */
  readonly choose: (count: number) => number;
}

/** For so many grains of a data rank, on 2 or 3 ranks with up to 3 stages more than ranks. */
export function randomSchedules(grains: number, sharding: Wishes['sharding']): fc.Arbitrary<RandomSchedule> {
  return fc
    .record({ pipeline: fc.integer({ min: 2, max: 3 }), moreStages: fc.nat(3), choices: fc.infiniteStream(fc.nat()) })
    .map(({ choices, ...sizes }) => {
      const choose = (count: number) => (choices.next().value as number) % count;
      return write({ ...sizes, grains, sharding, choose });
    });
}

/** How far a stage is: grains whose forward, input gradient and weight gradient are done, and that were reduced. */
interface Progress {
  readonly rank: number;
  forwards: number;
  inputs: number;
  weights: number;
  reduced: number;
  isGathered: boolean;
}

function write({ pipeline, moreStages, grains, sharding, choose }: Wishes): RandomSchedule {
  const ranks = [...Array(pipeline).keys(), ...Array.from({ length: moreStages }, () => choose(pipeline))];
  const stages = shuffled(ranks, choose).map((rank): Progress => {
    return { rank, forwards: 0, inputs: 0, weights: 0, reduced: 0, isGathered: false };
  });
  const lines = Array.from({ length: pipeline }, (): string[] => []);
  const goals = sharding === 'none' ? 0 : sharding === 'each grain' ? grains : 1;
  for (;;) {
    const steps = stages.flatMap((own, stage) => nextOf(own, stage, stages, { grains, goals, shards: sharding !== 'none' }));
    if (steps.length === 0) break;
    const { cell, rank, take } = steps[choose(steps.length)]!;
    lines[rank]!.push(cell);
    take();
  }
  return { pipeline, stages: stages.length, csv: `${lines.map((cells) => cells.join(',')).join('\n')}\n` };
}

/** What a stage may do next, given what the others have done. */
function nextOf(
  own: Progress,
  stage: number,
  stages: readonly Progress[],
  { grains, goals, shards }: { grains: number; goals: number; shards: boolean },
): { cell: string; rank: number; take: () => void }[] {
  const { rank, forwards, inputs, weights, reduced, isGathered } = own;
  const step = (cell: string, take: () => void) => ({ cell, rank, take });
  const isReady = !shards || isGathered;
  const goesForward = forwards < grains && (stages[stage - 1]?.forwards ?? grains) > forwards;
  const goesBack = inputs < forwards && (stages[stage + 1]?.inputs ?? grains) > inputs;
  const isUsed = inputs < grains;
  const mayReduce = reduced < goals && weights > (goals === 1 ? grains - 1 : reduced);
  return [
    ...(isReady && goesForward ? [step(`F${stage}.${forwards}`, () => (own.forwards += 1))] : []),
    ...(isReady && goesBack ? [step(`I${stage}.${inputs}`, () => (own.inputs += 1))] : []),
    ...(isReady && goesBack && weights === inputs ? [step(`B${stage}.${inputs}`, () => (own.inputs = own.weights += 1))] : []),
    ...(weights < inputs ? [step(`W${stage}.${weights}`, () => (own.weights += 1))] : []),
    ...(shards && !isGathered && isUsed ? [step(`UNSHARD${stage}`, () => (own.isGathered = true))] : []),
    ...(isGathered && (!isUsed || forwards > 0) ? [step(`RESHARD${stage}`, () => (own.isGathered = false))] : []),
    ...(mayReduce ? [step(`REDUCE${stage}${goals === 1 ? '' : `.${reduced}`}`, () => (own.reduced += 1))] : []),
  ];
}

function shuffled<T>(list: readonly T[], choose: (count: number) => number): T[] {
  const rest = [...list];
  return list.map(() => rest.splice(choose(rest.length), 1)[0]!);
}
