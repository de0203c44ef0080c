import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildSchedule } from './build.ts';
import { checkSchedule } from '#runtime/api/schedule/check.ts';
import { withCommunication } from './communication.ts';
import { withSharding } from './sharding.ts';
import { simulate } from './timing/simulate.ts';
import { anyWishes } from './testing.ts';

const sharding = fc.record({ reshardAfterForward: fc.boolean(), reduceEveryGrain: fc.boolean() });
const cost = { forward: 4, backwardInput: 5, backwardWeight: 3, send: 1 };

it('a schedule with communication and sharding, put in either order, can run', () => {
  fc.assert(
    fc.property(anyWishes, sharding, (wishes, sharded) => {
      const schedule = buildSchedule(wishes);
      const communicated = withCommunication(schedule);
      checkSchedule(communicated);
      checkSchedule(withSharding(communicated, sharded));
      checkSchedule(withCommunication(withSharding(schedule, sharded)));
    }),
    { numRuns: 200 },
  );
});

it('communication changes no time of computing: the same transfers were implied before', () => {
  fc.assert(
    fc.property(anyWishes, (wishes) => {
      const schedule = buildSchedule(wishes);
      const { length, ranks } = simulate(withCommunication(schedule), cost);
      expect({ length, ranks }).toEqual({ length: simulate(schedule, cost).length, ranks: simulate(schedule, cost).ranks });
    }),
    { numRuns: 100 },
  );
});

it('sends every output once over each boundary between ranks, and nothing in the turn of a V', () => {
  const { actions } = withCommunication(buildSchedule({ schedule: 'zbv', pipeline: 3, stagesPerRank: 2, grains: 5 }));
  const sends = actions.flat().filter(({ type }) => type === 'sendForward');
  expect(
    [...Map.groupBy(sends, ({ stage }) => stage)].map(([stage, list]) => [stage, list.length]).sort(([a], [b]) => a! - b!),
  ).toEqual([
    [0, 5],
    [1, 5],
    [3, 5],
    [4, 5],
  ]);
});
