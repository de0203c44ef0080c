// Decides what follows when a rank process has ended. Pure, so that every case stands in a table test.
import { ExitCode, isRetryable } from '#runtime/api/exit-codes.ts';

export interface RankExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type Decision =
  | { readonly action: 'end'; readonly exitCode: number }
  | { readonly action: 'restart'; readonly delayMs: number };

const firstDelayMs = 200;
const longestDelayMs = 30_000;

/** A rank is restarted in place while its fault may pass and the budget lasts; back-off doubles from 200 ms to 30 s. */
export function decideAfterExit(exit: RankExit, restartsSoFar: number, maxRestarts: number, stopping: boolean): Decision {
  const exitCode = exit.code ?? ExitCode.rankLost;
  const code = exit.signal ? undefined : exitCode;
  const final = stopping || code === ExitCode.preempted || !isRetryable(code) || restartsSoFar >= maxRestarts;
  if (final) return { action: 'end', exitCode };
  return { action: 'restart', delayMs: Math.min(firstDelayMs * 2 ** restartsSoFar, longestDelayMs) };
}
