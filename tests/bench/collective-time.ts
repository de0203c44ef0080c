// How long the collectives of a step take, and how much of that no computation hides.
import type { CommRecord } from '#kernels/binding.ts';

export interface CollectiveTime {
  /** Of reductions of gradients, in seconds, waiting for peers included. */
  readonly reducing: number;
  /** Of gathering weights. */
  readonly gathering: number;
  /**
   * At most so much of it nothing hides: what runs without a pause at the end of the reductions, when the backward pass may be over, and what
   * the device itself runs, such as the sum of the losses.
   */
  readonly exposed: number;
}

/** Collectives that follow each other within this come one after the other without a pause. */
const pauseMs = 0.2;

/** `records`: those of one step and one rank. */
export function timeOfCollectives(records: readonly CommRecord[]): CollectiveTime {
  const done = records.filter(({ state }) => state === 'done');
  const isGradient = ({ site }: CommRecord) => site.startsWith('gradient of');
  const isWeights = ({ site }: CommRecord) => site.startsWith('gather ') || site.startsWith('weights of');
  const seconds = (of: readonly CommRecord[]) => of.reduce((sum, { startedMs, endedMs }) => sum + endedMs - startedMs, 0) / 1e3;
  const gradients = done.filter(isGradient);
  const atTheEnd: CommRecord[] = [];
  for (const record of gradients.toSorted((a, b) => b.endedMs - a.endedMs)) {
    const next = atTheEnd.at(-1);
    if (next && next.startedMs - record.endedMs > pauseMs) break;
    atTheEnd.push(record);
  }
  const ofDevice = done.filter((record) => !isGradient(record) && !isWeights(record));
  return {
    reducing: seconds(gradients),
    gathering: seconds(done.filter(isWeights)),
    exposed: seconds(atTheEnd) + seconds(ofDevice),
  };
}
