// A schedule of the user's own, as a job brings it: read, proved to run, and compared with the job around it.
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { Schedule } from './action.ts';
import { parseScheduleCsv } from './csv.ts';
import { ScheduleError } from './walk.ts';

/** What a schedule has to fit. */
export interface ScheduleSetting {
  readonly parallelism: Pick<
    TrainingJobSpec['parallelism'],
    'scheduleCsv' | 'pipeline' | 'dataReplicate' | 'dataShard' | 'zero' | 'reduceEveryGrain'
  >;
  /** `task.pretrain.batch.grains`. */
  readonly grains: number;
}

/** Throws ScheduleError that says what is wrong, where in the text, and what would fit. */
export function ownSchedule({ parallelism, grains }: ScheduleSetting): Schedule {
  const { scheduleCsv = '', pipeline, dataReplicate, dataShard } = parallelism;
  const schedule = parseScheduleCsv(scheduleCsv);
  const { ranks } = schedule;
  if (ranks !== pipeline) {
    const lines = ranks === 1 ? '1 line' : `${ranks} lines`;
    const remedy = ranks === 1 ? 'write a line for each' : `pipeline: ${ranks} would fit`;
    const asked = `the pipeline has ${pipeline === 1 ? '1 rank' : `${pipeline} ranks`}`;
    throw new ScheduleError(`has ${lines} of actions, one for each rank, but ${asked}: ${remedy}`);
  }
  const dataRanks = dataReplicate * dataShard;
  const own = grains / dataRanks;
  if (schedule.grains !== own) {
    const count = schedule.grains === 1 ? '1 grain' : `${schedule.grains} grains`;
    const remedy = `it needs batch.grains: ${schedule.grains * dataRanks}, or cells for ${own}`;
    throw new ScheduleError(`is for ${count}, but each data rank works through ${own}: ${remedy}`);
  }
  checkSharding(schedule, parallelism);
  return schedule;
}

/** What is wrong with the schedule of a job's own; undefined if nothing is, or if it has none. */
export function ownScheduleFault({ parallelism, task }: Pick<TrainingJobSpec, 'parallelism' | 'task'>): string | undefined {
  if (parallelism.schedule !== 'csv') return undefined;
  try {
    ownSchedule({ parallelism, grains: task.pretrain.batch.grains });
    return undefined;
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    return `spec.parallelism.scheduleCsv: ${error.message}`;
  }
}

/** Gathering, freeing and reducing are put in where none is written; half of it can't be completed. */
function checkSharding(
  { actions, stages }: Schedule,
  { dataShard, zero, reduceEveryGrain }: ScheduleSetting['parallelism'],
): void {
  const all = actions.flat();
  const reductions = all.filter(({ type }) => type === 'reduce');
  const reduced = new Set(reductions.map(({ stage }) => stage));
  const gathered = new Set(all.flatMap(({ type, stage }) => (type === 'unshard' ? [stage] : [])));
  if (gathered.size + reduced.size === 0) return;
  const gathers = gathered.size > 0 || (dataShard > 1 && zero === 3);
  for (let stage = 0; stage < stages; stage += 1) {
    const missing = !reduced.has(stage) ? 'REDUCE' : gathers && !gathered.has(stage) ? 'UNSHARD' : undefined;
    if (missing === undefined) continue;
    const remedy = 'write UNSHARD, RESHARD and REDUCE for every stage, or none of them, and they are put in';
    throw new ScheduleError(`has no ${missing}${stage}: ${remedy}`);
  }
  const isEach = reductions.some(({ grain }) => grain !== undefined);
  if (isEach === reduceEveryGrain) return;
  const [has, wants] = isEach ? ['the gradients of each grain', 'REDUCE0'] : ['gradients of all grains at once', 'REDUCE0.0'];
  throw new ScheduleError(`reduces ${has}, but reduceEveryGrain is ${reduceEveryGrain}: ${wants} and so on would fit`);
}
