// Proves that a schedule computes everything once and in order, that sends and receives pair, and that it cannot deadlock.
import type { Action, ActionType, Schedule } from './action.ts';
import { givesInputGradient, givesWeightGradient, usesWeights } from './action.ts';
import type { Naming, Place } from './walk.ts';
import { hasTransfers, plainNaming, ScheduleError, walk } from './walk.ts';

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
export function checkSchedule(schedule: Schedule, naming: Naming = plainNaming): void {
  checkShape(schedule, naming);
  const places = schedule.actions.flatMap((actions, rank) =>
    actions.map((action, position): Place => ({ rank, position, action })),
  );
  for (const place of places) checkPlace(schedule, place, naming);
  const byStage = Map.groupBy(places, ({ action }) => action.stage);
  for (let stage = 0; stage < schedule.stages; stage += 1) checkStage(schedule, stage, byStage.get(stage) ?? [], naming);
  if (hasTransfers(schedule)) checkTransfers(schedule, byStage, naming);
  walk(schedule, () => {}, naming);
}

function checkShape({ ranks, stages, grains, placement, actions }: Schedule, naming: Naming): void {
  if (actions.length !== ranks) throw new ScheduleError(`${ranks} ranks, but actions of ${actions.length}`);
  if (placement.length !== stages) throw new ScheduleError(`${stages} stages, but placement of ${placement.length}`);
  const wrong = placement.findIndex((rank) => !(Number.isInteger(rank) && rank >= 0 && rank < ranks));
  if (wrong >= 0) throw new ScheduleError(`stage ${wrong} is placed on rank ${placement[wrong]}; there are ${ranks} ranks`);
  const idle = actions.findIndex((_, rank) => !placement.includes(rank));
  if (idle >= 0) throw new ScheduleError(`${naming.end(idle)}: no stage is computed here`);
  if (!(grains >= 1)) throw new ScheduleError(`${grains} grains; 1 or more are needed`);
}

function checkPlace(schedule: Schedule, place: Place, naming: Naming): void {
  const { stage, grain, type } = place.action;
  const fail = (what: string): never => {
    throw new ScheduleError(`${naming.place(place)}: ${what}`);
  };
  if (!(Number.isInteger(stage) && stage >= 0 && stage < schedule.stages)) fail(`stages go from 0 to ${schedule.stages - 1}`);
  const holder = schedule.placement[stage]!;
  if (holder !== place.rank) fail(`stage ${stage} lies on ${naming.rank(holder)}; it belongs there`);
  if (type === 'unshard' || type === 'reshard') {
    if (grain !== undefined) fail('it belongs to all grains, but names one');
  } else if (type !== 'reduce' || grain !== undefined) {
    if (!(grain !== undefined && Number.isInteger(grain) && grain >= 0 && grain < schedule.grains)) {
      fail(`grains go from 0 to ${schedule.grains - 1}`);
    }
  }
}

/** `own`: the actions of one stage, in order. */
function checkStage(schedule: Schedule, stage: number, own: readonly Place[], naming: Naming): void {
  const rank = schedule.placement[stage]!;
  const all = Array.from({ length: schedule.grains }, (_, grain) => grain);
  const ordered = (what: string, chosen: (action: Action) => boolean, expected: readonly (number | undefined)[]) => {
    const found = own.filter(({ action }) => chosen(action));
    const wrong = found.findIndex(({ action }, index) => index >= expected.length || action.grain !== expected[index]);
    if (wrong >= 0) {
      const next = wrong >= expected.length ? 'is complete before it' : `goes on with ${grainName(expected[wrong])} here`;
      throw new ScheduleError(`${naming.place(found[wrong]!)}: the ${what} of stage ${stage} ${next}`);
    }
    if (found.length < expected.length) {
      throw new ScheduleError(`${naming.end(rank)}: the ${what} of stage ${stage} lacks ${grainName(expected[found.length])}`);
    }
  };
  ordered('forward', ({ type }) => type === 'forward', all);
  ordered('input gradient', ({ type }) => givesInputGradient(type), all);
  ordered('weight gradient', ({ type }) => givesWeightGradient(type), all);
  checkSharding(own, { rank, stage, all }, ordered, naming);
}

function grainName(grain: number | undefined): string {
  return grain === undefined ? 'all grains' : `grain ${grain}`;
}

function checkSharding(
  own: readonly Place[],
  { rank, stage, all }: { readonly rank: number; readonly stage: number; readonly all: readonly number[] },
  ordered: (what: string, chosen: (action: Action) => boolean, expected: readonly (number | undefined)[]) => void,
  naming: Naming,
): void {
  if (own.some(({ action: { type } }) => type === 'unshard' || type === 'reshard')) {
    let gathered = false;
    for (const place of own) {
      const { action } = place;
      const fail = (what: string): never => {
        throw new ScheduleError(`${naming.place(place)}: the weights of stage ${stage} are ${what}`);
      };
      if (action.type === 'unshard' && gathered) fail('gathered already');
      if ((action.type === 'reshard' || usesWeights(action.type)) && !gathered) fail('not gathered');
      if (action.type === 'unshard') gathered = true;
      if (action.type === 'reshard') gathered = false;
    }
    if (gathered) throw new ScheduleError(`${naming.end(rank)}: the weights of stage ${stage} are not given back`);
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
      throw new ScheduleError(`${naming.place(place)}: ${needed - weights} weight gradients of stage ${stage} are still to come`);
    }
  }
}

/** Compares the two ends of each boundary and direction. */
function checkTransfers(schedule: Schedule, byStage: ReadonlyMap<number, readonly Place[]>, naming: Naming): void {
  const ends = (type: Transfer, stage: number) => (byStage.get(stage) ?? []).filter(({ action }) => action.type === type);
  const lastStage = schedule.stages - 1;
  const outwards = [
    ...ends('receiveForward', 0),
    ...ends('sendBackward', 0),
    ...ends('sendForward', lastStage),
    ...ends('receiveBackward', lastStage),
  ];
  if (outwards[0]) throw new ScheduleError(`${naming.place(outwards[0])}: the stage has no neighbour on that side`);
  const check = (send: Transfer, from: number, receive: Transfer, to: number) => {
    const edge = { sends: ends(send, from), receives: ends(receive, to), from, to };
    checkEdge(edge, { send, receive }, schedule.placement[from] !== schedule.placement[to], naming);
  };
  for (let stage = 0; stage < lastStage; stage += 1) {
    check('sendForward', stage, 'receiveForward', stage + 1);
    check('sendBackward', stage + 1, 'receiveBackward', stage);
  }
}

type Transfer = Extract<ActionType, `send${string}` | `receive${string}`>;

interface Edge {
  readonly sends: readonly Place[];
  readonly receives: readonly Place[];
  readonly from: number;
  readonly to: number;
}

function checkEdge(
  { sends, receives, from, to }: Edge,
  types: { readonly send: Transfer; readonly receive: Transfer },
  crosses: boolean,
  naming: Naming,
): void {
  const first = sends[0] ?? receives[0];
  if (!crosses && first)
    throw new ScheduleError(`${naming.place(first)}: stages ${from} and ${to} share a rank; nothing is sent between them`);
  const counterpart = (type: Transfer, stage: number, { action: { grain } }: Place) =>
    naming.action({ type, stage, ...(grain === undefined ? {} : { grain }) });
  for (let index = 0; index < Math.max(sends.length, receives.length); index += 1) {
    const [send, receive] = [sends[index], receives[index]];
    if (!send)
      throw new ScheduleError(
        `${naming.place(receive!)}: nobody sends it; ${counterpart(types.send, from, receive!)} is missing`,
      );
    if (!receive)
      throw new ScheduleError(`${naming.place(send)}: nobody receives it; ${counterpart(types.receive, to, send)} is missing`);
    if (send.action.grain === receive.action.grain) continue;
    const comes = `what ${naming.place(send)} sends comes first`;
    throw new ScheduleError(`${naming.place(receive)}: ${comes}; ${counterpart(types.receive, to, send)} is right here`);
  }
}
