// A schedule of the user's own, as a job brings it: read, proved to run, and compared with the job around it.
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { ActionType, Schedule } from './action.ts';
import { parseScheduleCsv } from './csv.ts';
import { ScheduleError } from './walk.ts';

/** What a schedule has to fit. */
export interface ScheduleSetting {
  /** Ranks of the pipeline. */
  readonly pipeline: number;
  /** `task.pretrain.batch.grains`. */
  readonly grains: number;
  /** Ranks that share them. */
  readonly dataRanks: number;
}

/** Throws ScheduleError that says what is wrong, where in the text, and what would fit. */
export function ownSchedule(text: string, { pipeline, grains, dataRanks }: ScheduleSetting): Schedule {
  const schedule = parseScheduleCsv(text);
  const { ranks } = schedule;
  if (ranks !== pipeline) {
    const lines = ranks === 1 ? '1 line' : `${ranks} lines`;
    const remedy = ranks === 1 ? 'write a line for each' : `pipeline: ${ranks} would fit`;
    const asked = `the pipeline has ${pipeline === 1 ? '1 rank' : `${pipeline} ranks`}`;
    throw new ScheduleError(`has ${lines} of actions, one for each rank, but ${asked}: ${remedy}`);
  }
  const own = grains / dataRanks;
  if (schedule.grains !== own) {
    const count = schedule.grains === 1 ? '1 grain' : `${schedule.grains} grains`;
    const remedy = `it needs batch.grains: ${schedule.grains * dataRanks}, or cells for ${own}`;
    throw new ScheduleError(`is for ${count}, but each data rank works through ${own}: ${remedy}`);
  }
  checkSharding(schedule);
  return schedule;
}

/** What is wrong with the schedule of a job's own; undefined if nothing is, or if it has none. */
export function ownScheduleFault({ parallelism, task }: Pick<TrainingJobSpec, 'parallelism' | 'task'>): string | undefined {
  const { schedule, scheduleCsv = '', pipeline, dataReplicate, dataShard } = parallelism;
  if (schedule !== 'csv') return undefined;
  try {
    ownSchedule(scheduleCsv, { pipeline, grains: task.pretrain.batch.grains, dataRanks: dataReplicate * dataShard });
    return undefined;
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    return `spec.parallelism.scheduleCsv: ${error.message}`;
  }
}

/** Gathering, freeing and reducing are put in where none is written; half of it can't be completed. */
function checkSharding({ actions, stages }: Schedule): void {
  const all = actions.flat();
  const stagesWith = (type: ActionType) => new Set(all.filter((action) => action.type === type).map(({ stage }) => stage));
  const [gathered, reduced] = [stagesWith('unshard'), stagesWith('reduce')];
  if (gathered.size + reduced.size === 0) return;
  for (let stage = 0; stage < stages; stage += 1) {
    const missing = gathered.has(stage) ? (reduced.has(stage) ? undefined : 'REDUCE') : 'UNSHARD';
    if (missing === undefined) continue;
    throw new ScheduleError(
      `has some of UNSHARD, RESHARD and REDUCE, but no ${missing}${stage}: write them for every stage, or none, and they are put in`,
    );
  }
}
