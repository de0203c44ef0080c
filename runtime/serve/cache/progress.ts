// What is told of a model on its way to a node: bytes, speed, and the time that is left at that speed.
import type { Startup } from '#runtime/api/messages.ts';
import type { Fetching } from './model-cache.ts';

/** Tells each step on as `/startup` says it. `now`: milliseconds. */
export function startupTeller(tell: (startup: Startup) => void, now: () => number): (fetching: Fetching) => void {
  let begunAt: number | undefined;
  return ({ phase, bytes, totalBytes, trouble }) => {
    if (phase !== 'fetching') {
      tell({ phase });
      return;
    }
    begunAt ??= now();
    const seconds = (now() - begunAt) / 1000;
    // The first bytes say nothing about speed.
    const speed =
      seconds > 0 && bytes > 0 ? { bytesPerSecond: bytes / seconds, etaSeconds: ((totalBytes - bytes) / bytes) * seconds } : {};
    tell({ phase, bytes, totalBytes, ...speed, ...(trouble === undefined ? {} : { trouble: trouble.slice(0, 1024) }) });
  };
}
