import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GeneratedSchedule } from '#runtime/api/schedule/action.ts';
import { buildSchedule } from '../build.ts';
import { activationsHeld, bubbleShare, idleTime } from './formulas.ts';
import { simulate } from './simulate.ts';
import { anyWishes, stagesPerRankOf } from '../testing.ts';

const cost = fc.record({
  forward: fc.integer({ min: 1, max: 9 }),
  backwardInput: fc.integer({ min: 1, max: 9 }),
  backwardWeight: fc.integer({ min: 1, max: 9 }),
});
const even = { forward: 1, backwardInput: 1, backwardWeight: 1 };

it('every rank idles exactly as long as the formula says, for whole-number costs of any ratio', () => {
  let known = 0;
  fc.assert(
    fc.property(anyWishes, cost, (wishes, stage) => {
      const idle = idleTime(wishes, stage);
      if (idle === undefined) return;
      known += 1;
      const simulated = simulate(buildSchedule(wishes), stage);
      expect(simulated.ranks.map((rank) => rank.idle)).toEqual(Array(wishes.pipeline).fill(idle));
      expect(simulated.bubble).toBeCloseTo(bubbleShare(wishes, stage)!, 12);
    }),
    { numRuns: 400 },
  );
  expect(known).toBeGreaterThan(200);
});

const grid = (schedule: GeneratedSchedule) =>
  [2, 3, 4, 5, 6, 7, 8].flatMap((pipeline) =>
    [1, 2, 3, 4, 6, 8, 12, 16, 17, 32].flatMap((grains) =>
      (schedule === 'interleaved' ? [2, 3, 4] : [stagesPerRankOf(schedule)])
        .map((stagesPerRank) => ({ schedule, pipeline, stagesPerRank, grains }))
        .filter((wishes) => schedule !== 'dualpipev' || wishes.grains >= 2 * wishes.pipeline),
    ),
  );

describe.each(['gpipe', '1f1b', 'interleaved', 'zb1p', 'zbv', 'dualpipev'] as const)('%s on 2 to 8 ranks', (schedule) => {
  it('idles as the formula says if forward, input gradient and weight gradient take as long', () => {
    for (const wishes of grid(schedule).filter((each) => idleTime(each, even) !== undefined)) {
      const { ranks } = simulate(buildSchedule(wishes), even);
      expect({ wishes, idle: ranks.map(({ idle }) => idle) }).toEqual({
        wishes,
        idle: Array(wishes.pipeline).fill(idleTime(wishes, even)),
      });
    }
  });

  it('holds as many activations as the formula says', () => {
    for (const wishes of grid(schedule)) {
      expect({ wishes, held: simulate(buildSchedule(wishes), even).inFlight.ranks }).toEqual({
        wishes,
        held: activationsHeld(wishes),
      });
    }
  });
});

it('no rank of zbv waits between its first and last action if the three passes take as long', () => {
  for (const wishes of grid('zbv').filter(({ pipeline, grains }) => grains >= 2 * pipeline - 1)) {
    expect(simulate(buildSchedule(wishes), even).ranks.map(({ stall }) => stall)).toEqual(Array(wishes.pipeline).fill(0));
  }
});

it('gives the figures of the papers: 17.9 % for 1f1b on 8 ranks with 32 grains, 5.2 % in 4 chunks', () => {
  const share = (schedule: GeneratedSchedule, stagesPerRank: number) =>
    (100 * bubbleShare({ schedule, pipeline: 8, stagesPerRank, grains: 32 }, even)!).toFixed(1);
  expect([share('1f1b', 1), share('interleaved', 4)]).toEqual(['17.9', '5.2']);
});

it('transfers lengthen a step by a number that does not grow with the grains, but with 1f1b by 2(p - 1) / p for each grain', () => {
  const waited = (schedule: GeneratedSchedule, pipeline: number, grains: number): number => {
    const built = buildSchedule({ schedule, pipeline, stagesPerRank: stagesPerRankOf(schedule), grains });
    const cost = { forward: 100, backwardInput: 100, backwardWeight: 100 };
    return simulate(built, { ...cost, send: 1 }).length - simulate(built, cost).length;
  };
  for (const pipeline of [2, 4, 8]) {
    expect(waited('gpipe', pipeline, 32)).toBe(2 * (pipeline - 1));
    expect(waited('1f1b', pipeline, 64) - waited('1f1b', pipeline, 32)).toBe((32 * 2 * (pipeline - 1)) / pipeline);
    for (const schedule of ['interleaved', 'zb1p', 'zbv', 'dualpipev'] as const) {
      const [fewer, more] = [waited(schedule, pipeline, 32), waited(schedule, pipeline, 64)];
      expect([schedule, more]).toEqual([schedule, fewer]);
      expect([schedule, fewer <= 5 * pipeline]).toEqual([schedule, true]);
    }
  }
});

it('leaves open what no formula is known for', () => {
  const uneven = { forward: 2, backwardInput: 3, backwardWeight: 1 };
  expect(idleTime({ schedule: 'zbv', pipeline: 4, stagesPerRank: 2, grains: 8 }, uneven)).toBeUndefined();
  expect(idleTime({ schedule: 'dualpipev', pipeline: 4, stagesPerRank: 2, grains: 8 }, uneven)).toBeUndefined();
  // (p - 1) F would be 6 here, 4(p - 1) - 2(m - 1) too.
  const between = { schedule: 'zbv', pipeline: 7, stagesPerRank: 2, grains: 10 } as const;
  expect(idleTime(between, even)).toBeUndefined();
  expect(simulate(buildSchedule(between), even).ranks.map(({ idle }) => idle)).toEqual(Array(7).fill(7));
});
