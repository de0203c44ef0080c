// Decides what follows when a world broke: start again, replace the pod of the first cause, or end in its name. Pure.
import { errorTable } from '#runtime/api/errors.ts';
import type { FaultRule } from '#crds/v1alpha1/index.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { firstRule } from '#runtime/api/fault-rules.ts';
import type { FaultReport } from '#runtime/api/messages.ts';
import type { Failure } from '#runtime/api/rendezvous.ts';
import { describeCause, exitCodeOf, firstCause } from './fault.ts';
import type { Casualty } from './fault.ts';
import type { Hang } from './health.ts';

export interface Verdict {
  /** `replace`: the pod of the cause ends, for the operator to make another one; the others wait for that. */
  readonly action: 'restart' | 'replace' | 'end';
  /** Whether a restart counts against the budget of the agents. */
  readonly charged: boolean;
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

interface Seen {
  readonly epoch: number;
  readonly restarts: number;
  readonly maxRestarts: number;
  readonly rules?: readonly FaultRule[];
}

/**
 * The first rule of the job that fits the cause decides. Without one, a user's error ends the job at once, and anything else when
 * `maxRestarts` restarts are used up. Whatever is not done in place ends pods: the operator sees the rule in their last words.
 */
export function judgeFault(casualties: readonly Casualty[], hang: Hang | undefined, seen: Seen): Verdict {
  const cause = firstCause(casualties, hang) ?? casualties[0]!;
  const ending = hang || cause.ending === 'lost' ? undefined : cause.ending;
  const exitCode = ending ? exitCodeOf(ending) : ExitCode.rankLost;
  const { restarts, maxRestarts } = seen;
  const told = describeCause(cause, hang);
  const code = hang ? 'WL_HANG' : 'WL_RANK_LOST';
  const logTail = cause.ending === 'lost' ? undefined : cause.ending?.logTail;
  const rule = firstRule(seen.rules ?? [], {
    ...(ending?.signal === undefined ? { exitCode } : { signal: ending.signal }),
    code: ending?.failure?.code ?? code,
    text: [told, logTail].filter((text) => text !== undefined).join('\n'),
    rank: cause.rank,
  });
  const isUserError = exitCode === ExitCode.userError;
  const isFree = rule?.action === 'Ignore';
  const fails = rule ? rule.action === 'Fail' : isUserError;
  const ends = fails || rule?.action === 'RestartGang' || (!isFree && restarts >= maxRestarts);
  // A pod that is out of reach has been lost, or comes back by itself: it can't be told to end.
  const isForPod = rule?.action === 'RestartPod' || rule?.action === 'ExcludeNode';
  const replaces = !ends && isForPod && cause.ending !== 'lost';
  const by = rule ? ` by rule ${rule.name}` : '';
  const ranks = casualties.length === 1 ? 'it starts' : `all ${casualties.length} ranks start`;
  const count = isFree ? 'free of charge' : `restart ${restarts + 1} of ${maxRestarts}`;
  const consequence = fails
    ? `the job ends${by}`
    : rule?.action === 'RestartGang'
      ? `all pods are replaced${by}`
      : ends
        ? `no restart is left of ${maxRestarts}`
        : replaces
          ? `its pod is replaced${by}`
          : `${ranks} again${by} (${count})`;
  const collective = hang?.collective ?? cause.collective;
  const { remedy } = errorTable[code];
  return {
    action: ends ? 'end' : replaces ? 'replace' : 'restart',
    charged: !isFree,
    fault: {
      epoch: seen.epoch,
      rank: cause.rank,
      pod: cause.pod,
      ...(ending?.signal === undefined ? { exitCode } : { signal: ending.signal }),
      code: ending?.failure?.code ?? code,
      ...(cause.step === undefined ? {} : { step: cause.step }),
      ...(collective ? { operation: collective.operation, site: collective.site } : {}),
      message: `${told}; ${consequence}`.slice(0, longestMessage),
      remedy: ending?.failure?.remedy ?? (ending?.signal === undefined ? remedy : undefined),
      ...(rule ? { rule: rule.name } : {}),
      ...(isFree ? { charged: false } : {}),
      ...(logTail ? { logTail } : {}),
    },
    exitCode,
    ...(ending ? {} : { words: { code, message: told, remedy } }),
    followWords: { code, message: `ended because ${told}`, remedy },
  };
}
