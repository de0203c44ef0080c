// Tries again what may pass, until nothing has come of it for too long.
import { setTimeout as sleep } from 'node:timers/promises';
import { WindlassError } from '#runtime/api/errors.ts';
import type { RemoteClient } from './client.ts';
import { pauseAfter, Setback } from './patience.ts';

/**
 * Does `work` until it succeeds. `gained` tells how much has been won so far: while that grows, patience begins anew. Throws what `work` throws, and
 * WL_REMOTE_UNAVAILABLE after the last Setback.
 */
export async function untilDone<T>(client: RemoteClient, work: () => Promise<T>, gained: () => number = () => 0): Promise<T> {
  let best = gained();
  let since = performance.now();
  const { signal, onSetback } = client.options;
  for (let faults = 1; ; faults += 1) {
    signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Setback)) throw error;
      if (gained() > best) [best, since, faults] = [gained(), performance.now(), 1];
      const fruitlessMs = performance.now() - since;
      const pause = pauseAfter(faults, fruitlessMs, error.retryAfterMs, client.patience, Math.random());
      if (pause === undefined) throw givenUp(error, fruitlessMs);
      onSetback?.(error.message, pause);
      await sleep(pause, undefined, signal ? { signal } : {});
    }
  }
}

function givenUp(error: Setback, fruitlessMs: number): WindlassError {
  const { retryAfterMs } = error;
  const wants = retryAfterMs === undefined ? '' : `, and wants to be asked again in ${Math.round(retryAfterMs / 1000)} s`;
  const message = `${error.message}${wants}; nothing came for ${Math.round(fruitlessMs / 1000)} s`;
  return new WindlassError('WL_REMOTE_UNAVAILABLE', message, { cause: error });
}
