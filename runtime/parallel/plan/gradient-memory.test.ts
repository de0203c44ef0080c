import { describe, expect, test } from 'vitest';
import { buildSchedule, withSharding } from '../schedule/main.ts';
import { gradientElements } from './gradient-memory.ts';
import type { ReductionWay } from './gradient-memory.ts';

const table = { runs: [{ size: 1000, shardSize: 500 }] };
const block = () => ({ runs: [{ size: 100, shardSize: 50 }] });
const alone = { dataShard: 1, zero: 3, reduceEveryGrain: false } as const;
const sharded = { ...alone, dataShard: 2 } as const;

/** Of a rank with an embedding, five blocks and a head. */
function elements(grains: number, way: ReductionWay): number {
  const wishes = { keepsWeights: true, reshardAfterForward: true, reduceEveryGrain: way.reduceEveryGrain };
  const schedule = buildSchedule({ schedule: '1f1b', pipeline: 1, stagesPerRank: 1, grains });
  const units = [table, ...Array.from({ length: 5 }, block), { ...table }];
  return gradientElements(withSharding(schedule, wishes).actions[0]!, new Map([[0, units]]), way);
}

const whole = 2 * 1000 + 5 * 100;
describe('one rank', () => {
  test.each([
    [1, whole],
    [2, whole + 1000 + 100],
    [3, whole + 1000 + 100],
    [4, 2 * whole + 1000 + 100],
    [8, 3 * whole + 1000 + 100],
    [9, 3 * whole + 1000 + 100],
  ])('%i grains need a sum for each level of their tree, and what is being computed', (grains, expected) => {
    expect(elements(grains, alone)).toBe(expected);
  });
});

describe('ranks that share out gradients', () => {
  test('hold a shard of each, a table, and two blocks: one that is computed and one that is reduced', () => {
    for (const zero of [2, 3] as const) expect(elements(1, { ...sharded, zero })).toBe(whole / 2 + 1000 + 2 * 100);
  });

  test('hold all until the end with zero 1', () => {
    expect(elements(1, { ...sharded, zero: 1 })).toBe(whole + whole / 2);
  });

  test('hold whole sums of several grains until the last one', () => {
    expect(elements(4, sharded)).toBe(elements(4, alone) + whole / 2);
  });

  test('hold shards of sums where every grain is reduced', () => {
    const each = { ...sharded, reduceEveryGrain: true };
    const [wholes, added] = [1000 + 2 * 100, 500 + 50];
    expect(elements(1, each)).toBe(whole / 2 + wholes);
    for (const levels of [1, 2, 3]) expect(elements(2 ** levels, each)).toBe((levels * whole) / 2 + wholes + added);
  });
});

test('grains whose weight gradient waits keep whole gradients of their own', () => {
  const schedule = buildSchedule({ schedule: 'zb1p', pipeline: 4, stagesPerRank: 1, grains: 8 });
  const { actions } = withSharding(schedule, { keepsWeights: true, reshardAfterForward: true });
  expect(actions.map((of, rank) => gradientElements(of, new Map([[rank, [block()]]]), alone) / 100)).toMatchInlineSnapshot(`
    [
      4,
      4,
      5,
      6,
    ]
  `);
});
