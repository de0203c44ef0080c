// Runs through a schedule in an order in which everything that an action needs has ended before it, or says why there is none.
import type { Action, ActionType, Schedule } from './action.ts';
import { describeAction } from './action.ts';

/** Where an action stands. */
export interface Place {
  readonly rank: number;
  readonly position: number;
  readonly action: Action;
}

/** Thrown if a schedule cannot run; `message` names rank, position and action. */
export class ScheduleError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ScheduleError';
  }
}

/** How messages name what they are about. */
export interface Naming {
  /** `rank 1, position 4 (forward of stage 1, grain 2)`. */
  readonly place: (place: Place) => string;
  /** `forward of stage 1, grain 2`. */
  readonly action: (action: Action) => string;
  /** `rank 1`. */
  readonly rank: (rank: number) => string;
  /** Where something is missing that should have come by the end of a rank's actions. */
  readonly end: (rank: number) => string;
}

const rankName = (rank: number) => `rank ${rank}`;

/** Names by number: positions count from 0. */
export const plainNaming: Naming = {
  place: ({ rank, position, action }) => `${rankName(rank)}, position ${position} (${describeAction(action)})`,
  action: describeAction,
  rank: rankName,
  end: rankName,
};

/** Names what an action provides or needs: `F3.5`: the output of stage 3 for grain 5. */
type Key = string;

/**
 * Visits every action once, each after those that it needs: its forerunners on its rank and what it takes from other actions.
 * Sends do not wait; a receive waits for its send, and everything behind it on its rank waits for the receive. Throws
 * ScheduleError if nothing can go on, with the circle of actions that wait for each other.
 */
export function walk(
  schedule: Schedule,
  visit: (place: Place, needs: readonly Place[]) => void,
  naming: Naming = plainNaming,
): void {
  const transfers = hasTransfers(schedule);
  const done = new Map<Key, Place>();
  const positions = schedule.actions.map(() => 0);
  /** Ranks that are stuck, by what they wait for. */
  const waiting = new Map<Key, number[]>();
  const isStuck = schedule.actions.map(() => false);
  const nextOf = (rank: number): Place | undefined => {
    const position = positions[rank]!;
    const action = schedule.actions[rank]![position];
    return action && { rank, position, action };
  };
  for (let moved = true; moved;) {
    moved = false;
    for (let rank = 0; rank < schedule.ranks; rank += 1) {
      for (let place = nextOf(rank); place && !isStuck[rank]; place = nextOf(rank)) {
        const keys = needsOf(place.action, schedule, transfers);
        const missing = keys.find((key) => !done.has(key));
        if (missing !== undefined) {
          isStuck[rank] = true;
          waiting.set(missing, [...(waiting.get(missing) ?? []), rank]);
          break;
        }
        const needs = keys.map((key) => done.get(key)!);
        visit(place, needs);
        const key = givenBy(place.action);
        if (key) {
          done.set(key, place);
          for (const other of waiting.get(key) ?? []) isStuck[other] = false;
          waiting.delete(key);
        }
        positions[rank]! += 1;
        moved = true;
      }
    }
  }
  const stuck = schedule.actions.map((_, rank) => nextOf(rank));
  if (stuck.some((place) => place)) throw new ScheduleError(explain(schedule, transfers, stuck, done, naming));
}

/** Whether the schedule says itself when ranks send and receive. */
export function hasTransfers(schedule: Schedule): boolean {
  return schedule.actions.some((actions) => actions.some(({ type }) => type.startsWith('send') || type.startsWith('receive')));
}

function needsOf(action: Action, schedule: Schedule, transfers: boolean): Key[] {
  const { type, stage, grain } = action;
  const from = (neighbour: number, local: string, received: string) =>
    transfers && schedule.placement[neighbour] !== schedule.placement[stage]
      ? `${received}${stage}.${grain}`
      : `${local}${neighbour}.${grain}`;
  const isLast = stage === schedule.stages - 1;
  switch (type) {
    case 'forward':
      return stage === 0 ? [] : [from(stage - 1, 'F', 'RF')];
    case 'backward':
    case 'backwardInput':
      return [`F${stage}.${grain}`, ...(isLast ? [] : [from(stage + 1, 'I', 'RB')])];
    case 'backwardWeight':
      return [`I${stage}.${grain}`];
    case 'sendForward':
      return [`F${stage}.${grain}`];
    case 'receiveForward':
      return [`SF${stage - 1}.${grain}`];
    case 'sendBackward':
      return [`I${stage}.${grain}`];
    case 'receiveBackward':
      return [`SB${stage + 1}.${grain}`];
    case 'unshard':
    case 'reshard':
    case 'reduce':
      return [];
  }
}

const gives: Readonly<Partial<Record<ActionType, string>>> = {
  forward: 'F',
  backward: 'I',
  backwardInput: 'I',
  sendForward: 'SF',
  receiveForward: 'RF',
  sendBackward: 'SB',
  receiveBackward: 'RB',
};

/** undefined: nothing waits for the action. */
function givenBy({ type, stage, grain }: Action): Key | undefined {
  return gives[type] && `${gives[type]}${stage}.${grain}`;
}

/** Follows who waits for whom from the first rank that is stuck, until a rank comes twice or what is needed is nowhere. */
function explain(
  schedule: Schedule,
  transfers: boolean,
  stuck: readonly (Place | undefined)[],
  done: ReadonlyMap<Key, Place>,
  naming: Naming,
): string {
  const givers = new Map<Key, Place>();
  for (const [rank, actions] of schedule.actions.entries()) {
    for (const [position, action] of actions.entries()) {
      const key = givenBy(action);
      if (key) givers.set(key, { rank, position, action });
    }
  }
  const waits: string[] = [];
  const seen: number[] = [];
  let place = stuck.find((candidate) => candidate !== undefined);
  while (place && !seen.includes(place.rank)) {
    const missing = needsOf(place.action, schedule, transfers).find((key) => !done.has(key))!;
    const giver = givers.get(missing);
    if (!giver) return `${naming.place(place)} needs ${naming.action(actionOf(missing))}, which ${naming.rank(place.rank)} lacks`;
    const next: Place = stuck[giver.rank]!;
    const stands = giver.position === next.position ? '' : `, which stands behind ${next === place ? 'it' : naming.place(next)}`;
    waits.push(`${naming.place(place)} waits for ${naming.place(giver)}${stands}`);
    seen.push(place.rank);
    place = next;
  }
  const circle = waits.slice(seen.indexOf(place!.rank));
  const more = circle.length > mostWaits ? `; and so on, ${circle.length} of them in a circle` : '';
  const told = `${circle.slice(0, mostWaits).join('; ')}${more}`;
  return `deadlock: ${told}. Move something that is waited for before what it stands behind`;
}

/** A circle through more ranks than this is not told to its end: messages stand in conditions of an object. */
const mostWaits = 8;

/** The action that gives a key; of those that give an input gradient, the half. */
function actionOf(key: Key): Action {
  const [, letters = '', stage, grain] = /^([A-Z]+)(\d+)\.(\d+)$/.exec(key) ?? [];
  const type = letters === 'I' ? 'backwardInput' : Object.entries(gives).find(([, given]) => given === letters)![0];
  return { type: type as ActionType, stage: Number(stage), grain: Number(grain) };
}
