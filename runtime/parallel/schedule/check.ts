// Proves that a schedule computes everything once and in order, that sends and receives pair, and that it cannot deadlock.
import type { Action, Schedule } from './action.ts';
import { givesInputGradient, givesWeightGradient, usesWeights } from './action.ts';
import type { Place } from './walk.ts';
import { describePlace, hasTransfers, ScheduleError, walk } from './walk.ts';

/**
 * Throws ScheduleError with rank, position and action unless
 * - every stage runs every grain once forward and once backward (in one, or input gradient before weight gradient), on its own
 *   rank;
 * - forwards, input gradients and weight gradients of a stage each come in grain order (the tree that adds gradients needs it);
 * - of each boundary and direction between two ranks, sends and receives name the same grains in the same order;
 * - weights are gathered when they are used, gathered and freed in turns, and gradients are reduced once after the last grain or
 *   once after each, if the schedule shards at all;
 * - every rank comes to its end, if sends never wait and a receive stops its rank until its send has run. An executor in which
 *   receives stop only what uses them waits less.
 */
export function checkSchedule(schedule: Schedule): void {
  checkShape(schedule);
  const places = schedule.actions.flatMap((actions, rank) =>
    actions.map((action, position): Place => ({ rank, position, action })),
  );
  for (const place of places) checkPlace(schedule, place);
  const byStage = Map.groupBy(places, ({ action }) => action.stage);
  for (let stage = 0; stage < schedule.stages; stage += 1) checkStage(schedule, stage, byStage.get(stage) ?? []);
  if (hasTransfers(schedule)) checkTransfers(schedule, byStage);
  walk(schedule, () => {});
}

function checkShape({ ranks, stages, grains, placement, actions }: Schedule): void {
  if (actions.length !== ranks) throw new ScheduleError(`${ranks} ranks, but actions of ${actions.length}`);
  if (placement.length !== stages) throw new ScheduleError(`${stages} stages, but placement of ${placement.length}`);
  const wrong = placement.findIndex((rank) => !(Number.isInteger(rank) && rank >= 0 && rank < ranks));
  if (wrong >= 0) throw new ScheduleError(`stage ${wrong} is placed on rank ${placement[wrong]}; there are ${ranks} ranks`);
  const idle = actions.findIndex((_, rank) => !placement.includes(rank));
  if (idle >= 0) throw new ScheduleError(`rank ${idle} holds no stage`);
  if (!(grains >= 1)) throw new ScheduleError(`${grains} grains; 1 or more are needed`);
}

function checkPlace(schedule: Schedule, place: Place): void {
  const { stage, grain, type } = place.action;
  const fail = (what: string): never => {
    throw new ScheduleError(`${describePlace(place)}: ${what}`);
  };
  if (!(Number.isInteger(stage) && stage >= 0 && stage < schedule.stages)) fail(`the schedule has ${schedule.stages} stages`);
  if (schedule.placement[stage] !== place.rank) fail(`stage ${stage} lies on rank ${schedule.placement[stage]}`);
  if (type === 'unshard' || type === 'reshard') {
    if (grain !== undefined) fail('it belongs to all grains, but names one');
  } else if (type !== 'reduce' || grain !== undefined) {
    if (!(grain !== undefined && Number.isInteger(grain) && grain >= 0 && grain < schedule.grains)) {
      fail(`the schedule has ${schedule.grains} grains`);
    }
  }
}

/** `own`: the actions of one stage, in order. */
function checkStage(schedule: Schedule, stage: number, own: readonly Place[]): void {
  const rank = schedule.placement[stage]!;
  const all = Array.from({ length: schedule.grains }, (_, grain) => grain);
  const ordered = (what: string, chosen: (action: Action) => boolean, expected: readonly (number | undefined)[]) => {
    const found = own.filter(({ action }) => chosen(action));
    const wrong = found.findIndex(({ action }, index) => index >= expected.length || action.grain !== expected[index]);
    if (wrong >= 0) {
      const next = wrong >= expected.length ? 'is complete' : `goes on with ${grainName(expected[wrong])}`;
      throw new ScheduleError(`${describePlace(found[wrong]!)}: the ${what} of stage ${stage} ${next}`);
    }
    if (found.length < expected.length) {
      throw new ScheduleError(`rank ${rank}: the ${what} of stage ${stage} lacks ${grainName(expected[found.length])}`);
    }
  };
  ordered('forward', ({ type }) => type === 'forward', all);
  ordered('input gradient', ({ type }) => givesInputGradient(type), all);
  ordered('weight gradient', ({ type }) => givesWeightGradient(type), all);
  checkSharding(own, rank, stage, all, ordered);
}

function grainName(grain: number | undefined): string {
  return grain === undefined ? 'all grains' : `grain ${grain}`;
}

function checkSharding(
  own: readonly Place[],
  rank: number,
  stage: number,
  all: readonly number[],
  ordered: (what: string, chosen: (action: Action) => boolean, expected: readonly (number | undefined)[]) => void,
): void {
  if (own.some(({ action: { type } }) => type === 'unshard' || type === 'reshard')) {
    let gathered = false;
    for (const place of own) {
      const { action } = place;
      const fail = (what: string): never => {
        throw new ScheduleError(`${describePlace(place)}: the weights of stage ${stage} are ${what}`);
      };
      if (action.type === 'unshard' && gathered) fail('gathered already');
      if ((action.type === 'reshard' || usesWeights(action.type)) && !gathered) fail('not gathered');
      if (action.type === 'unshard') gathered = true;
      if (action.type === 'reshard') gathered = false;
    }
    if (gathered) throw new ScheduleError(`rank ${rank}: the weights of stage ${stage} are not given back at the end`);
  }
  const reductions = own.filter(({ action }) => action.type === 'reduce');
  if (reductions.length === 0) return;
  const each = reductions.some(({ action }) => action.grain !== undefined);
  ordered('reduction', ({ type }) => type === 'reduce', each ? all : [undefined]);
  let weights = 0;
  for (const place of own) {
    if (givesWeightGradient(place.action.type)) weights += 1;
    const needed = place.action.grain === undefined ? all.length : place.action.grain + 1;
    if (place.action.type === 'reduce' && weights < needed) {
      throw new ScheduleError(
        `${describePlace(place)}: ${needed - weights} weight gradients of stage ${stage} are still to come`,
      );
    }
  }
}

/** Compares the two ends of each boundary and direction. */
function checkTransfers(schedule: Schedule, byStage: ReadonlyMap<number, readonly Place[]>): void {
  const ends = (type: Action['type'], stage: number) => (byStage.get(stage) ?? []).filter(({ action }) => action.type === type);
  const lastStage = schedule.stages - 1;
  const outwards = [
    ...ends('receiveForward', 0),
    ...ends('sendBackward', 0),
    ...ends('sendForward', lastStage),
    ...ends('receiveBackward', lastStage),
  ];
  if (outwards[0]) throw new ScheduleError(`${describePlace(outwards[0])}: the stage has no neighbour on that side`);
  for (let stage = 0; stage < lastStage; stage += 1) {
    const next = stage + 1;
    const crosses = schedule.placement[stage] !== schedule.placement[next];
    checkEdge(ends('sendForward', stage), ends('receiveForward', next), crosses, [stage, next]);
    checkEdge(ends('sendBackward', next), ends('receiveBackward', stage), crosses, [next, stage]);
  }
}

function checkEdge(
  sends: readonly Place[],
  receives: readonly Place[],
  crosses: boolean,
  [from, to]: readonly [number, number],
): void {
  const first = sends[0] ?? receives[0];
  if (!crosses && first) throw new ScheduleError(`${describePlace(first)}: stages ${from} and ${to} share a rank`);
  const edge = `from stage ${from} to stage ${to}`;
  for (let index = 0; index < Math.max(sends.length, receives.length); index += 1) {
    const [send, receive] = [sends[index], receives[index]];
    if (!send) throw new ScheduleError(`${describePlace(receive!)}: nothing is left to receive ${edge}`);
    if (!receive) throw new ScheduleError(`${describePlace(send)}: nobody receives it ${edge}`);
    if (send.action.grain !== receive.action.grain) {
      throw new ScheduleError(`${describePlace(receive)}: next ${edge} comes what ${describePlace(send)} sends`);
    }
  }
}
