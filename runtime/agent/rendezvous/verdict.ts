// Decides what follows when a world broke: start again, or end in the name of the first cause. Pure.
import { errorTable } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { FaultReport } from '#runtime/api/messages.ts';
import type { Failure } from '#runtime/api/rendezvous.ts';
import { describeCause, exitCodeOf, firstCause } from './fault.ts';
import type { Casualty } from './fault.ts';
import type { Hang } from './health.ts';

export interface Verdict {
  readonly action: 'restart' | 'end';
  /** Without its time. */
  readonly fault: Omit<FaultReport, 'time'>;
  /** What the job ends with, if it does. */
  readonly exitCode: number;
  /** What the pod of the cause says; absent: its rank has said it itself. */
  readonly words?: Failure;
  /** What the other pods say. */
  readonly followWords: Failure;
}

const longestMessage = 1024;

/** A user's error ends the job at once, anything else when `maxRestarts` restarts are used up. */
export function judgeFault(
  casualties: readonly Casualty[],
  hang: Hang | undefined,
  seen: { readonly epoch: number; readonly restarts: number; readonly maxRestarts: number },
): Verdict {
  const cause = firstCause(casualties, hang) ?? casualties[0]!;
  const ending = hang || cause.ending === 'lost' ? undefined : cause.ending;
  const exitCode = ending ? exitCodeOf(ending) : ExitCode.rankLost;
  const { restarts, maxRestarts } = seen;
  const isUserError = exitCode === ExitCode.userError;
  const ends = isUserError || restarts >= maxRestarts;
  const told = describeCause(cause, hang);
  const ranks = casualties.length === 1 ? 'it starts' : `all ${casualties.length} ranks start`;
  const consequence = isUserError
    ? 'the job ends'
    : ends
      ? `no restart is left of ${maxRestarts}`
      : `${ranks} again (restart ${restarts + 1} of ${maxRestarts})`;
  const collective = hang?.collective ?? cause.collective;
  const code = hang ? 'WL_HANG' : 'WL_RANK_LOST';
  const { remedy } = errorTable[code];
  return {
    action: ends ? 'end' : 'restart',
    fault: {
      epoch: seen.epoch,
      rank: cause.rank,
      pod: cause.pod,
      ...(ending?.signal === undefined ? { exitCode } : { signal: ending.signal }),
      code: ending?.failure?.code ?? code,
      ...(cause.step === undefined ? {} : { step: cause.step }),
      ...(collective ? { operation: collective.operation, site: collective.site } : {}),
      message: `${told}; ${consequence}`.slice(0, longestMessage),
    },
    exitCode,
    ...(ending ? {} : { words: { code, message: told, remedy } }),
    followWords: { code, message: `ended because ${told}`, remedy },
  };
}
