// For tests of schedules: arbitrary wishes that can be built, and what a call throws.
import fc from 'fast-check';
import type { GeneratedSchedule } from '#runtime/api/schedule/action.ts';
import type { ScheduleWishes } from './build.ts';

const scheduleNames: readonly GeneratedSchedule[] = ['gpipe', '1f1b', 'interleaved', 'zb1p', 'zbv', 'dualpipev'];

/** Any schedule on 1 to 8 ranks, up to 4 stages per rank, up to 40 grains. */
export const anyWishes: fc.Arbitrary<ScheduleWishes> = fc
  .record({
    schedule: fc.constantFrom(...scheduleNames),
    pipeline: fc.integer({ min: 1, max: 8 }),
    chunks: fc.integer({ min: 2, max: 4 }),
    more: fc.integer({ min: 0, max: 39 }),
  })
  .map(({ schedule, pipeline, chunks, more }) => ({
    schedule,
    pipeline,
    stagesPerRank: stagesPerRankOf(schedule, chunks),
    grains: schedule === 'dualpipev' ? 2 * pipeline + (more % 25) : 1 + more,
  }));

export function stagesPerRankOf(schedule: GeneratedSchedule, chunks = 2): number {
  if (schedule === 'interleaved') return chunks;
  return schedule === 'zbv' || schedule === 'dualpipev' ? 2 : 1;
}

export function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}
