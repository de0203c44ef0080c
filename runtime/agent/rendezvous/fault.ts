// Of ranks that ended together, tells which one was the first cause, and puts it into words.
import { errorTable } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { CollectiveState } from '#runtime/api/messages.ts';
import type { Failure } from '#runtime/api/rendezvous.ts';
import { collectiveInWords } from './health.ts';
import type { Hang } from './health.ts';

/** How a rank process ended, as its agent saw it. */
export interface RankEnding {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  /** The agent killed it, as it was told to. */
  readonly killed: boolean;
  readonly failure?: Failure | undefined;
  /** Last lines that it wrote. */
  readonly logTail?: string | undefined;
}

/** What became of a rank of a world that broke. */
export interface Casualty {
  readonly rank: number;
  readonly pod: string;
  readonly step?: number | undefined;
  readonly collective?: CollectiveState | undefined;
  /** `lost`: its agent is out of reach; undefined: it has not ended. */
  readonly ending?: RankEnding | 'lost' | undefined;
  /** Order in which the endings became known. */
  readonly order: number;
}

/** Severity of an ending as a cause, the least first; undefined: a consequence only. */
const Weight = { userError: 0, fault: 1, lostPod: 2, lostPeer: 3 } as const;

/** The exit code that an ending stands for. A rank that was killed after it had told its failure ended by that failure. */
export function exitCodeOf(ending: RankEnding): number {
  const { failure } = ending;
  const told = failure && Object.hasOwn(errorTable, failure.code) ? errorTable[failure.code as ErrorCode].exit : undefined;
  if (told !== undefined && (ending.killed || ending.exitCode === undefined)) return ExitCode[told];
  return ending.exitCode ?? ExitCode.rankLost;
}

/** Whether an ending calls for the end of the world: all but success and an orderly stop. */
export function isFault(ending: RankEnding): boolean {
  const code = exitCodeOf(ending);
  return code !== ExitCode.done && code !== ExitCode.preempted;
}

function weightOf(ending: RankEnding | 'lost' | undefined): number | undefined {
  if (ending === undefined) return undefined;
  if (ending === 'lost') return Weight.lostPod;
  const code = exitCodeOf(ending);
  if (code === ExitCode.done || (ending.killed && !ending.failure)) return undefined;
  if (code === ExitCode.userError) return Weight.userError;
  // That a peer was lost is what ranks say when another one has died.
  const isHearsay = code === ExitCode.preempted || (code === ExitCode.rankLost && ending.failure !== undefined);
  return isHearsay ? Weight.lostPeer : Weight.fault;
}

/** Whether an ending is a cause of its own, and not the mere loss of a peer that died. */
export function isFirstHand(ending: RankEnding | 'lost'): boolean {
  const weight = weightOf(ending);
  return weight !== undefined && weight < Weight.lostPeer;
}

/** The rank that broke the world: the gravest ending, of equals the one known first. */
export function firstCause(casualties: readonly Casualty[], hang: Hang | undefined): Casualty | undefined {
  if (hang) return casualties.find(({ rank }) => rank === hang.rank);
  return casualties
    .filter(({ ending }) => weightOf(ending) !== undefined)
    .sort((a, b) => weightOf(a.ending)! - weightOf(b.ending)! || a.order - b.order)[0];
}

/** What happened to the rank: `rank 2 (pod moby-worker-2) was ended by SIGKILL at step 17, in all-reduce 4 of group data (call site ...)`. */
export function describeCause({ rank, pod, ending, step, collective }: Casualty, hang: Hang | undefined): string {
  if (hang) return hang.message;
  const name = `rank ${rank} (pod ${pod})`;
  const at = step === undefined ? '' : ` at step ${step}`;
  // What a rank says of its failure names the operation already.
  if (ending !== 'lost' && ending?.failure) return `${name} failed${at} with ${ending.failure.code}: ${ending.failure.message}`;
  const where = collective ? `, ${collective.state === 'waiting' ? 'in' : 'after'} ${collectiveInWords(collective)}` : '';
  return `${name} ${endingInWords(ending)}${at}${where}`;
}

function endingInWords(ending: RankEnding | 'lost' | undefined): string {
  if (ending === undefined) return 'did not end in time';
  if (ending === 'lost') return 'is out of reach (its pod ended or its network broke)';
  if (ending.signal !== undefined) return `was ended by ${ending.signal}`;
  return `ended with code ${ending.exitCode} and said nothing`;
}
