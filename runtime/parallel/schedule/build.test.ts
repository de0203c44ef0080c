import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Schedule } from '#runtime/api/schedule/action.ts';
import type { ScheduleWishes } from './build.ts';
import { buildSchedule } from './build.ts';
import { checkSchedule } from '#runtime/api/schedule/check.ts';
import { anyWishes, thrownBy } from './testing.ts';

const letters: Record<string, string> = { forward: 'F', backward: 'B', backwardInput: 'I', backwardWeight: 'W' };
const rows = ({ actions }: Schedule) =>
  actions.map((list) => list.map(({ type, stage, grain }) => `${letters[type]}${stage}.${grain}`).join(' '));
const build = (schedule: ScheduleWishes['schedule'], pipeline: number, stagesPerRank: number, grains: number) =>
  buildSchedule({ schedule, pipeline, stagesPerRank, grains });

it('builds only schedules that are complete, in grain order and free of deadlock', () => {
  fc.assert(
    fc.property(anyWishes, (wishes) => checkSchedule(buildSchedule(wishes))),
    { numRuns: 300 },
  );
});

describe('the order of a rank', () => {
  it('gpipe', () => {
    expect(rows(build('gpipe', 2, 1, 2))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 B0.0 B0.1",
        "F1.0 F1.1 B1.0 B1.1",
      ]
    `);
  });
  it('1f1b', () => {
    expect(rows(build('1f1b', 3, 1, 4))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 F0.2 B0.0 F0.3 B0.1 B0.2 B0.3",
        "F1.0 F1.1 B1.0 F1.2 B1.1 F1.3 B1.2 B1.3",
        "F2.0 B2.0 F2.1 B2.1 F2.2 B2.2 F2.3 B2.3",
      ]
    `);
  });
  it('interleaved', () => {
    expect(rows(build('interleaved', 2, 2, 4))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 F2.0 F2.1 F0.2 B2.0 F0.3 B2.1 F2.2 B0.0 F2.3 B0.1 B2.2 B2.3 B0.2 B0.3",
        "F1.0 F1.1 F3.0 B3.0 F3.1 B3.1 F1.2 B1.0 F1.3 B1.1 F3.2 B3.2 F3.3 B3.3 B1.2 B1.3",
      ]
    `);
  });
  it('interleaved, grains that the ranks do not divide', () => {
    expect(rows(build('interleaved', 2, 2, 5))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 F0.2 F2.0 F2.1 F2.2 B2.0 F0.3 B2.1 F0.4 B2.2 F2.3 B0.0 F2.4 B0.1 B0.2 B2.3 B2.4 B0.3 B0.4",
        "F1.0 F1.1 F1.2 F3.0 B3.0 F3.1 B3.1 F3.2 B3.2 F1.3 B1.0 F1.4 B1.1 F3.3 B1.2 F3.4 B3.3 B3.4 B1.3 B1.4",
      ]
    `);
  });
  it('zb1p', () => {
    expect(rows(build('zb1p', 3, 1, 4))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 F0.2 I0.0 W0.0 F0.3 I0.1 W0.1 I0.2 W0.2 I0.3 W0.3",
        "F1.0 F1.1 I1.0 F1.2 I1.1 W1.0 F1.3 I1.2 W1.1 I1.3 W1.2 W1.3",
        "F2.0 I2.0 F2.1 I2.1 F2.2 I2.2 W2.0 F2.3 I2.3 W2.1 W2.2 W2.3",
      ]
    `);
  });
  it('zbv', () => {
    expect(rows(build('zbv', 2, 2, 3))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 F0.2 F3.0 I3.0 W3.0 F3.1 I3.1 W3.1 I0.0 W0.0 F3.2 I3.2 W3.2 I0.1 W0.1 I0.2 W0.2",
        "F1.0 F2.0 F1.1 F2.1 I2.0 W2.0 F1.2 I1.0 W1.0 F2.2 I2.1 W2.1 I1.1 I2.2 I1.2 W1.1 W2.2 W1.2",
      ]
    `);
  });
  it('dualpipev', () => {
    expect(rows(build('dualpipev', 2, 2, 4))).toMatchInlineSnapshot(`
      [
        "F0.0 F0.1 F0.2 F3.0 I3.0 W3.0 F3.1 F0.3 B3.1 F3.2 B0.0 B3.2 F3.3 B0.1 B3.3 I0.2 W0.2 I0.3 W0.3",
        "F1.0 F2.0 F1.1 F2.1 F1.2 B2.0 F2.2 B1.0 F1.3 B2.1 F2.3 B1.1 B2.2 B1.2 I2.3 I1.3 W2.3 W1.3",
      ]
    `);
  });
});

it('places the stages of a V so that the last rank holds the two in the middle', () => {
  expect(build('zbv', 3, 2, 5).placement).toEqual([0, 1, 2, 2, 1, 0]);
  expect(build('interleaved', 3, 2, 5).placement).toEqual([0, 1, 2, 0, 1, 2]);
});

it.each([
  [build.bind(null, 'interleaved', 4, 1, 8), 'spec.parallelism.stagesPerRank', '1; the schedule interleaved needs 2 or more'],
  [build.bind(null, '1f1b', 4, 2, 8), 'spec.parallelism.stagesPerRank', '2; the schedule 1f1b needs exactly 1'],
  [build.bind(null, 'zbv', 4, 3, 8), 'spec.parallelism.stagesPerRank', '3; the schedule zbv needs exactly 2'],
  [
    build.bind(null, 'dualpipev', 4, 2, 4),
    'spec.task.pretrain.batch.grains',
    '4 for each data rank; the schedule dualpipev with pipeline: 4 needs 8 or more, or choose another schedule',
  ],
  [build.bind(null, '1f1b', 0, 1, 4), 'spec.parallelism.pipeline', '0; a whole number of 1 or more is needed'],
  [
    build.bind(null, 'pipedream' as '1f1b', 2, 1, 4),
    'spec.parallelism.schedule',
    'pipedream; one of gpipe, 1f1b, interleaved, zb1p, zbv, dualpipev is needed',
  ],
])('refuses what can not be built and names field and fitting value: %#', (refused, path, words) => {
  expect(thrownBy(refused)).toMatchObject({ code: 'WL_MANIFEST_INVALID', message: `${path}: ${words}`, details: { path } });
});
