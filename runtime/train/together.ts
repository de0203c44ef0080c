// Work that one rank does for all: the others wait, as long as it takes, and learn how it ended.
import { setTimeout as sleep } from 'node:timers/promises';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';

/** How ranks tell each other texts; absent where there is one rank. */
export interface Talk {
  readonly rank: number;
  allGather(text: string): Promise<string[]>;
}

/** The longest that ranks are silent while they wait: well below the deadline of a collective. */
const roundMs = 1_000;

/**
 * Rank 0 runs `work`; the others resolve to undefined once it is done, or throw WL_PEER_FAILED with what it failed with. All ranks call it.
 */
export async function rankZero<T>(talk: Talk | undefined, work: () => Promise<T>): Promise<T | undefined> {
  if (!talk) return await work();
  let outcome: { done: true } | { failed: string } | undefined;
  const running = talk.rank === 0 ? work() : undefined;
  running?.then(
    () => (outcome = { done: true }),
    (error: unknown) => (outcome = { failed: toWindlassError(error).message }),
  );
  for (;;) {
    if (running && !outcome) await Promise.race([running.catch(() => {}), sleep(roundMs, undefined, { ref: false })]);
    const [said = '{}'] = await talk.allGather(JSON.stringify(outcome ?? {}));
    const { done, failed } = JSON.parse(said) as { done?: boolean; failed?: string };
    if (talk.rank === 0 && outcome) return await running;
    if (done) return undefined;
    if (failed !== undefined) throw new WindlassError('WL_PEER_FAILED', `rank 0 failed: ${failed}`);
  }
}
