// Builds the compute schedule that a job asks for.
import { WindlassError } from '#runtime/api/errors.ts';
import type { GrainAction, Schedule, GeneratedSchedule } from '#runtime/api/schedule/action.ts';
import { dualPipeV } from './generators/dual-pipe-v.ts';
import { interleaved } from './generators/interleaved.ts';
import { gpipe, oneForwardOneBackward, zeroBubbleOne } from './generators/one-stage.ts';
import { zeroBubbleV } from './generators/zero-bubble-v.ts';
import { loopPlacement, vPlacement } from './placement.ts';

export interface ScheduleWishes {
  readonly schedule: GeneratedSchedule;
  /** Ranks of the pipeline. */
  readonly pipeline: number;
  readonly stagesPerRank: number;
  /** Of each data rank. */
  readonly grains: number;
}

type Generator = (ranks: number, rank: number, grains: number, stagesPerRank: number) => GrainAction[];

interface Kind {
  readonly generator: Generator;
  readonly shape: 'loop' | 'v';
  /** How many stages a rank may hold. */
  readonly stages: { readonly least: number; readonly most: number };
  readonly leastGrains: (ranks: number) => number;
}

const one = { least: 1, most: 1 };
const two = { least: 2, most: 2 };
/** By name. */
export const scheduleKinds: Readonly<Record<GeneratedSchedule, Kind>> = {
  gpipe: { generator: gpipe, shape: 'loop', stages: one, leastGrains: () => 1 },
  '1f1b': { generator: oneForwardOneBackward, shape: 'loop', stages: one, leastGrains: () => 1 },
  interleaved: { generator: interleaved, shape: 'loop', stages: { least: 2, most: Infinity }, leastGrains: () => 1 },
  zb1p: { generator: zeroBubbleOne, shape: 'loop', stages: one, leastGrains: () => 1 },
  zbv: { generator: zeroBubbleV, shape: 'v', stages: two, leastGrains: () => 1 },
  dualpipev: { generator: dualPipeV, shape: 'v', stages: two, leastGrains: (ranks) => 2 * ranks },
};

/** Compute actions only; see `withCommunication` and `withSharding`. Throws WL_MANIFEST_INVALID that names what would fit. */
export function buildSchedule(wishes: ScheduleWishes): Schedule {
  const { schedule, pipeline, stagesPerRank, grains } = wishes;
  const kind = scheduleKinds[schedule];
  if (kind === undefined)
    refuse('spec.parallelism.schedule', `${schedule as string}; one of ${Object.keys(scheduleKinds).join(', ')} is needed`);
  if (!isCount(pipeline, 1)) refuse('spec.parallelism.pipeline', `${pipeline}; a whole number of 1 or more is needed`);
  const { least, most } = kind.stages;
  if (!isCount(stagesPerRank, least) || stagesPerRank > most) {
    const fits = least === most ? `exactly ${least}` : `${least} or more`;
    refuse('spec.parallelism.stagesPerRank', `${stagesPerRank}; the schedule ${schedule} needs ${fits}`);
  }
  const leastGrains = kind.leastGrains(pipeline);
  if (!isCount(grains, leastGrains)) {
    const needed = `${schedule} with pipeline: ${pipeline} needs ${leastGrains} or more`;
    refuse('spec.task.pretrain.batch.grains', `${grains} for each data rank; the schedule ${needed}, or choose another schedule`);
  }
  return {
    name: schedule,
    ranks: pipeline,
    stages: pipeline * stagesPerRank,
    grains,
    placement: kind.shape === 'v' ? vPlacement(pipeline) : loopPlacement(pipeline, stagesPerRank),
    actions: Array.from({ length: pipeline }, (_, rank) => kind.generator(pipeline, rank, grains, stagesPerRank)),
  };
}

function isCount(value: number, least: number): boolean {
  return Number.isInteger(value) && value >= least;
}

function refuse(path: string, message: string): never {
  throw new WindlassError('WL_MANIFEST_INVALID', `${path}: ${message}`, { details: { path } });
}
