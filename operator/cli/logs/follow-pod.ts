// Follows the log of one pod through cut connections and restarts of its container, each line once.
import type { Pod } from '#operator/kube/core.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { secondOf } from './pod-log.ts';
import type { LogLine, LogSelection } from './pod-log.ts';

export interface FollowOptions {
  /** The pod as it is now; undefined once it is gone. */
  readonly look: () => Pod | undefined;
  readonly read: (selection: LogSelection) => AsyncIterable<LogLine>;
  /** Resolves when the pod may have changed, or after this many milliseconds. */
  readonly pause: (ms: number) => Promise<void>;
  readonly selection: Omit<LogSelection, 'follow' | 'previous' | 'sinceTime' | 'limitBytes'>;
  /** Told once for each failure in a row. */
  readonly onTrouble: (error: KubeError) => void;
  readonly signal: AbortSignal;
}

const firstPauseMs = 250;
const longestPauseMs = 8000;

/** Ends when the pod has ended for good or is gone. Throws what another try would not help against. */
export async function* followPod({ look, read, pause, selection, onTrouble, signal }: FollowOptions): AsyncGenerator<LogLine> {
  const seen = createMark();
  const { container } = selection;
  /** Restarts of the container that is being read. */
  let restarts: number | undefined;
  let pauseMs = firstPauseMs;
  let failures = 0;
  const lines = async function* (more: Partial<LogSelection>): AsyncGenerator<LogLine> {
    const since = seen.since();
    seen.reconnect();
    for await (const line of read(since === undefined ? { ...selection, ...more } : { container, ...more, sinceTime: since })) {
      if (!seen.isNew(line)) continue;
      yield line;
      pauseMs = firstPauseMs;
      failures = 0;
    }
  };
  while (!signal.aborted) {
    const pod = look();
    if (!pod) return;
    const state = stateOf(pod, container);
    try {
      if (restarts !== undefined && state.restarts > restarts) {
        // What the container said last, before it was started again.
        yield* lines({ previous: true });
      }
      if (state.hasStarted) {
        restarts = state.restarts;
        yield* lines({ follow: !state.isOver });
        if (state.isOver) return;
      }
    } catch (error) {
      if (!(error instanceof KubeError) || error.reason === 'Forbidden' || error.reason === 'Unauthorized') throw error;
      // A container that has not started yet, or whose log before the restart is gone, is no trouble.
      const isTrouble = error.reason !== 'BadRequest' && error.reason !== 'NotFound';
      if (isTrouble && failures++ === 0) onTrouble(error);
      if (error.reason === 'NotFound' && look() === undefined) return;
      if (state.isOver && !isTrouble) return;
    }
    await pause(pauseMs);
    pauseMs = Math.min(longestPauseMs, pauseMs * 2);
  }
}

/** `isOver`: the container has ended, and will not be started again. */
function stateOf(pod: Pod, container: string): { restarts: number; hasStarted: boolean; isOver: boolean } {
  const status = pod.status?.containerStatuses?.find(({ name }) => name === container);
  const isOver = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  const { state, lastState, restartCount = 0 } = status ?? {};
  const hasStarted = isOver || [state?.running, state?.terminated, lastState?.terminated].some((known) => known !== undefined);
  return { restarts: restartCount, hasStarted, isOver };
}

/** How far a log was read. The server can be asked for lines from a second on, so lines of that second come again. */
function createMark() {
  let last: bigint | undefined;
  /** Lines of the time `last` that were passed on; those that come again are to be dropped. */
  let atLast = 0;
  let again = 0;
  return {
    since: () => (last === undefined ? undefined : secondOf(last)),
    reconnect() {
      again = atLast;
    },
    isNew({ time }: LogLine): boolean {
      if (time === undefined || last === undefined) {
        if (time !== undefined) [last, atLast] = [time, 1];
        return true;
      }
      if (time < last) return false;
      if (time === last && again > 0) {
        again -= 1;
        return false;
      }
      atLast = time === last ? atLast + 1 : 1;
      last = time;
      return true;
    },
  };
}
