// The ranks of one world as the rendezvous sees them: who sits where, what they said last, how they ended.
import type { Heartbeat } from '#runtime/api/messages.ts';
import type { Casualty, RankEnding } from './fault.ts';
import { isPreparing, newestOf } from './health.ts';

export interface Seat {
  readonly rank: number;
  /** Index of the pod. */
  readonly index: number;
  readonly pod: string;
  readonly startedAt: number;
  endpoint?: string;
  heartbeat?: Heartbeat;
  /** Step of its first heartbeat: where it went on from. */
  firstStep?: number;
  heardAt: number;
  advancedAt: number;
  /** Since when its agent is out of reach. */
  awaySince?: number | undefined;
  /** Newest step that it has begun, once it was asked to halt. */
  halted?: number;
  ending?: RankEnding | 'lost';
  /** Order in which the endings became known. */
  order: number;
}

export function newSeat(rank: number, member: { index: number; pod: string }, now: number): Seat {
  return { rank, index: member.index, pod: member.pod, startedAt: now, heardAt: now, advancedAt: now, order: 0 };
}

/** Takes a heartbeat over; a step, phase, activity or collective that changed counts as an advance. */
export function hearBeat(seat: Seat, heartbeat: Heartbeat, now: number): void {
  seat.heardAt = now;
  if (!seat.heartbeat || markOf(seat.heartbeat) !== markOf(heartbeat)) seat.advancedAt = now;
  seat.heartbeat = heartbeat;
  seat.firstStep ??= heartbeat.step;
}

/** Ranks that wait for one that prepares something for all ask it again and again: that their questions get answers is no advance. */
function markOf(heartbeat: Heartbeat): string {
  const { step, phase, activity, collectives } = heartbeat;
  const passed = isPreparing(heartbeat) ? [] : collectives.map(({ group, sequence, state }) => `${group} ${sequence} ${state}`);
  return [step, phase, activity, ...passed].join('\n');
}

/** Time in which nobody listened says nothing about the ranks. */
export function forgiveSilence(seats: readonly Seat[], pauseMs: number): void {
  for (const seat of seats) {
    seat.heardAt += pauseMs;
    seat.advancedAt += pauseMs;
    if (seat.awaySince !== undefined) seat.awaySince += pauseMs;
  }
}

export function casualtyOf(seat: Seat): Casualty {
  const { rank, pod, ending, order, heartbeat } = seat;
  const failure = ending === 'lost' ? undefined : ending?.failure;
  return { rank, pod, ending, order, step: failure?.step ?? heartbeat?.step, collective: newestOf(seat) };
}

export const hasEnded = ({ ending }: Seat): boolean => ending !== undefined;

/** Highest step that any rank reports. */
export function newestStep(seats: readonly Seat[]): number {
  return Math.max(-1, ...seats.map(({ heartbeat }) => heartbeat?.step ?? -1));
}

/** Whether a step was done in this world. */
export function hasProgressed(seats: readonly Seat[]): boolean {
  return seats.some(({ heartbeat, firstStep }) => heartbeat !== undefined && heartbeat.step > (firstStep ?? Infinity));
}
