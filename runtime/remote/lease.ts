// One process at a time, among those that share a folder: who can make the directory holds it, and shows by its time that it lives.
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface LeaseTimes {
  /** How often the holder shows that it lives. */
  readonly renewMs: number;
  /** A holder that showed nothing for so long is taken for dead. Measured by the clock of who waits, so clocks need not agree. */
  readonly staleMs: number;
  /** How often who waits looks. */
  readonly lookMs: number;
}

export const leaseTimes: LeaseTimes = { renewMs: 2000, staleMs: 20_000, lookMs: 200 };

/**
 * Does `work` while it holds `path`. A holder that was only slow may find that another has begun meanwhile: what both write must be right
 * even so. `onWait` is called while another holds it.
 */
export async function withLease<T>(path: string, times: LeaseTimes, onWait: () => void, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  await take(path, times, onWait);
  const renewal = setInterval(() => {
    const now = new Date();
    // Whoever took it over has made another one.
    void utimes(path, now, now).catch(() => {});
  }, times.renewMs);
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    await rm(path, { recursive: true, force: true });
  }
}

async function take(path: string, { staleMs, lookMs }: LeaseTimes, onWait: () => void): Promise<void> {
  let [seen, since] = ['', performance.now()];
  for (;;) {
    try {
      await mkdir(path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const sign = await signOf(path);
    if (sign !== seen) [seen, since] = [sign, performance.now()];
    else if (performance.now() - since >= staleMs && (await signOf(path)) === seen) {
      const aside = `${path}.${randomUUID()}`;
      // Another may have been faster; then there is nothing to move.
      await rename(path, aside).then(
        () => rm(aside, { recursive: true, force: true }),
        () => {},
      );
      continue;
    }
    onWait();
    await sleep(lookMs);
  }
}

/** Which directory it is and when its holder renewed it last; empty when it is gone. */
async function signOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found ? `${found.ino} ${found.mtimeMs}` : '';
}
