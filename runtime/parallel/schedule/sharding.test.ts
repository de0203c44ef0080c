import { describe, expect, it } from 'vitest';
import type { Action, Schedule } from '#runtime/api/schedule/action.ts';
import { buildSchedule } from './build.ts';
import { withCommunication } from './communication.ts';
import { withSharding } from './sharding.ts';
import { simulate } from './timing/simulate.ts';

const rows = ({ actions }: Schedule) => actions.map((list) => list.map(word).join(' '));
const word = ({ type, stage, grain }: Action) =>
  grain === undefined || type === 'reduce' ? `${type}${stage}` : `${type[0]!.toUpperCase()}${stage}.${grain}`;
const interleaved = buildSchedule({ schedule: 'interleaved', pipeline: 2, stagesPerRank: 2, grains: 2 });

describe('weights of a stage', () => {
  it('are gathered once and freed after their last use if they stay after the forward', () => {
    expect(rows(withSharding(interleaved, { reshardAfterForward: false }))).toMatchInlineSnapshot(`
      [
        "unshard0 F0.0 unshard2 F0.1 F2.0 F2.1 B2.0 B2.1 reshard2 reduce2 B0.0 B0.1 reshard0 reduce0",
        "unshard1 F1.0 unshard3 F1.1 F3.0 B3.0 F3.1 B3.1 reshard3 reduce3 B1.0 B1.1 reshard1 reduce1",
      ]
    `);
  });

  it('are freed after a forward unless one of the next two actions uses them', () => {
    expect(rows(withSharding(interleaved, { reshardAfterForward: true }))).toMatchInlineSnapshot(`
      [
        "unshard0 F0.0 unshard2 F0.1 reshard0 F2.0 F2.1 B2.0 unshard0 B2.1 reshard2 reduce2 B0.0 B0.1 reshard0 reduce0",
        "unshard1 F1.0 unshard3 F1.1 reshard1 F3.0 B3.0 F3.1 unshard1 B3.1 reshard3 reduce3 B1.0 B1.1 reshard1 reduce1",
      ]
    `);
  });

  it('are gathered before the receive during which they arrive', () => {
    const { actions } = withSharding(withCommunication(interleaved), { reshardAfterForward: false });
    expect(actions[1]!.slice(0, 4).map(({ type }) => type)).toEqual(['unshard', 'receiveForward', 'forward', 'sendForward']);
  });

  it('come without delay but for the first, if gathering takes no longer than an action', () => {
    const cost = { forward: 2, backwardInput: 2, backwardWeight: 2, unshard: 2 };
    const schedule = buildSchedule({ schedule: 'interleaved', pipeline: 2, stagesPerRank: 4, grains: 4 });
    const sharded = simulate(withSharding(schedule, { reshardAfterForward: true }), cost);
    expect(sharded.end).toBe(simulate(schedule, cost).end + 2);
  });
});

describe('gradients of a stage', () => {
  it('are reduced once, after the last weight gradient, while the rank goes on', () => {
    const schedule = withSharding(interleaved, { reshardAfterForward: false });
    expect(schedule.actions.map((list) => list.filter(({ type }) => type === 'reduce'))).toEqual([
      [
        { type: 'reduce', stage: 2 },
        { type: 'reduce', stage: 0 },
      ],
      [
        { type: 'reduce', stage: 3 },
        { type: 'reduce', stage: 1 },
      ],
    ]);
  });

  it('are reduced after every grain if asked', () => {
    const { actions } = withSharding(interleaved, { reshardAfterForward: false, reduceEveryGrain: true });
    expect(actions.map((list) => list.filter(({ type }) => type === 'reduce').length)).toEqual([4, 4]);
  });
});
