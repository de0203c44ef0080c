// A schedule of the user's own, as a job brings it: read, proved to run, and compared with the job around it.
import type { Schedule } from './action.ts';
import { parseScheduleCsv } from './csv.ts';
import { ScheduleError } from './walk.ts';

/** What a schedule has to fit. */
export interface ScheduleSetting {
  /** Ranks of the pipeline. */
  readonly pipeline: number;
  /** Grains of each data rank. */
  readonly grains: number;
}

/** Throws ScheduleError that says what is wrong, where in the text, and what would fit. */
export function ownSchedule(text: string, { pipeline, grains }: ScheduleSetting): Schedule {
  const schedule = parseScheduleCsv(text);
  if (schedule.ranks !== pipeline) {
    const lines = schedule.ranks === 1 ? '1 line' : `${schedule.ranks} lines`;
    throw new ScheduleError(
      `has ${lines} of actions, one for each rank, but the pipeline has ${pipeline} ranks: pipeline: ${schedule.ranks} would fit`,
    );
  }
  if (schedule.grains !== grains) {
    const factor = schedule.grains / grains;
    const remedy = Number.isInteger(factor) ? `${factor} times as many batch.grains` : `${schedule.grains} for each data rank`;
    throw new ScheduleError(
      `is for ${schedule.grains} grains, but each data rank works through ${grains}: ${remedy} would fit, or a schedule for ${grains}`,
    );
  }
  return schedule;
}
