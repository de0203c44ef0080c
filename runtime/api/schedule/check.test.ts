import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Action, Schedule } from './action.ts';
import { buildSchedule } from '#runtime/parallel/schedule/build.ts';
import { checkSchedule } from './check.ts';
import { withCommunication } from '#runtime/parallel/schedule/communication.ts';
import { withSharding } from '#runtime/parallel/schedule/sharding.ts';
import { anyWishes, thrownBy } from '#runtime/parallel/schedule/testing.ts';
import { ScheduleError } from './walk.ts';

const base = buildSchedule({ schedule: '1f1b', pipeline: 2, stagesPerRank: 1, grains: 2 });
const talking = withCommunication(base);
const turn = withCommunication(buildSchedule({ schedule: 'zbv', pipeline: 2, stagesPerRank: 2, grains: 1 }));
const sharded = withSharding(base, { reshardAfterForward: false });

/** The schedule with another list of actions on one rank. */
const edit = (schedule: Schedule, rank: number, change: (actions: Action[]) => Action[]): Schedule => ({
  ...schedule,
  actions: schedule.actions.map((actions, index) => (index === rank ? change([...actions]) : actions)),
});
const without = (position: number) => (actions: Action[]) => actions.toSpliced(position, 1);
const swapped = (a: number, b: number) => (actions: Action[]) => actions.with(a, actions[b]!).with(b, actions[a]!);
const replaced = (position: number, change: Partial<Action>) => (actions: Action[]) =>
  actions.with(position, { ...actions[position]!, ...change });
const added = (action: Action) => (actions: Action[]) => [...actions, action];

describe('refuses', () => {
  it.each<[string, Schedule, string]>([
    ['a missing backward', edit(base, 0, without(3)), 'rank 0: the input gradient of stage 0 lacks grain 1'],
    [
      'a forward twice',
      edit(base, 0, added({ type: 'forward', stage: 0, grain: 1 })),
      'rank 0, position 4 (forward of stage 0, grain 1): the forward of stage 0 is complete before it',
    ],
    [
      'grains out of order',
      edit(base, 0, swapped(0, 1)),
      'rank 0, position 0 (forward of stage 0, grain 1): the forward of stage 0 goes on with grain 0 here',
    ],
    [
      'a stage of another rank',
      edit(base, 0, replaced(0, { stage: 1 })),
      'rank 0, position 0 (forward of stage 1, grain 0): stage 1 lies on rank 1; it belongs there',
    ],
    [
      'a grain that is not there',
      edit(base, 1, replaced(2, { grain: 2 })),
      'rank 1, position 2 (forward of stage 1, grain 2): grains go from 0 to 1',
    ],
    [
      'half a backward',
      edit(base, 1, replaced(3, { type: 'backwardInput' })),
      'rank 1: the weight gradient of stage 1 lacks grain 1',
    ],
    [
      'a backward before its forward',
      edit(base, 1, swapped(0, 1)),
      'deadlock: rank 1, position 0 (backward of stage 1, grain 0) waits for rank 1, position 1 (forward of stage 1, grain 0), which stands behind it. Move something that is waited for before what it stands behind',
    ],
    [
      'a send without a receive',
      edit(talking, 1, without(4)),
      'rank 0, position 3 (sendForward of stage 0, grain 1): nobody receives it; receiveForward of stage 1, grain 1 is missing',
    ],
    [
      'a receive without a send',
      edit(talking, 0, without(3)),
      'rank 1, position 4 (receiveForward of stage 1, grain 1): nobody sends it; sendForward of stage 0, grain 1 is missing',
    ],
    [
      'sends in another order than receives',
      edit(talking, 0, swapped(1, 3)),
      'rank 1, position 0 (receiveForward of stage 1, grain 0): what rank 0, position 1 (sendForward of stage 0, grain 1) sends comes first; receiveForward of stage 1, grain 1 is right here',
    ],
    [
      'a send from the first stage to the one before',
      edit(base, 0, added({ type: 'sendBackward', stage: 0, grain: 0 })),
      'rank 0, position 4 (sendBackward of stage 0, grain 0): the stage has no neighbour on that side',
    ],
    [
      'a send to the same rank',
      edit(turn, 1, (list) => [list[0]!, { type: 'sendForward', stage: 1, grain: 0 }, ...list.slice(1)]),
      'rank 1, position 1 (sendForward of stage 1, grain 0): stages 1 and 2 share a rank; nothing is sent between them',
    ],
    [
      'use of weights that are not gathered',
      edit(sharded, 0, without(0)),
      'rank 0, position 0 (forward of stage 0, grain 0): the weights of stage 0 are not gathered',
    ],
    [
      'weights that stay',
      edit(sharded, 0, (list) => list.filter(({ type }) => type !== 'reshard')),
      'rank 0: the weights of stage 0 are not given back',
    ],
    [
      'a reduction before the last gradient',
      edit(sharded, 0, (list) => [list.at(-1)!, ...list.slice(0, -1)]),
      'rank 0, position 0 (reduce of stage 0): 2 weight gradients of stage 0 are still to come',
    ],
    [
      'two reductions',
      edit(sharded, 0, added({ type: 'reduce', stage: 0 })),
      'rank 0, position 7 (reduce of stage 0): the reduction of stage 0 is complete before it',
    ],
    ['a rank without a stage', { ...base, placement: [0, 0] }, 'rank 1: no stage is computed here'],
  ])('%s', (_, schedule, message) => {
    expect(thrownBy(() => checkSchedule(schedule))).toEqual(new ScheduleError(message));
  });
});

it('explains a deadlock as the circle of actions that wait for each other', () => {
  const circle = edit(talking, 0, (list) => {
    const receive = list.findIndex(({ type }) => type === 'receiveBackward');
    return [list[receive]!, ...list.toSpliced(receive, 1)];
  });
  const error = thrownBy(() => checkSchedule(circle)) as ScheduleError;
  expect(error.message.split('; ')).toEqual([
    'deadlock: rank 0, position 0 (receiveBackward of stage 0, grain 0) waits for rank 1, position 3 (sendBackward of stage 1, grain 0), which stands behind rank 1, position 0 (receiveForward of stage 1, grain 0)',
    'rank 1, position 0 (receiveForward of stage 1, grain 0) waits for rank 0, position 2 (sendForward of stage 0, grain 0), which stands behind rank 0, position 0 (receiveBackward of stage 0, grain 0). Move something that is waited for before what it stands behind',
  ]);
});

it('finds every single action that is taken away from a schedule with communication', () => {
  fc.assert(
    fc.property(anyWishes, fc.nat(), fc.nat(), (wishes, rankSeed, positionSeed) => {
      const schedule = withCommunication(buildSchedule(wishes));
      const rank = rankSeed % schedule.ranks;
      const position = positionSeed % schedule.actions[rank]!.length;
      expect(() => checkSchedule(edit(schedule, rank, without(position)))).toThrow(/rank \d+/);
    }),
  );
});
