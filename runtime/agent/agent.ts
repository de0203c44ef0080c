// Main process of a training pod: keeps the rank process as the rendezvous says, passes its progress on, and says why the pod ended.
import { setTimeout as sleep } from 'node:timers/promises';
import { readEnvironment, TrainingEnvironment } from '#runtime/api/environment.ts';
import { errorTable, toWindlassError } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { Progress } from '#runtime/api/messages.ts';
import { lastWords, writeLastWords } from './last-words.ts';
import { PodIdentity } from './identity/pod-identity.ts';
import { meet } from './meeting.ts';
import { RankProcess } from './rank-process.ts';
import { rankSecret } from './rendezvous/proof.ts';
import { Session } from './session.ts';
import type { End } from './session.ts';

export interface AgentOptions {
  /** Command line of the rank process. */
  readonly rankCommand: readonly string[];
  readonly env: Record<string, string | undefined>;
  /** Ends the ranks in order (they save a checkpoint) and then the agent. */
  readonly signal: AbortSignal;
  /** One line of the log. */
  readonly log: (fields: object, message: string) => void;
}

/** How long a rank may take to save and end after the pod was asked to. The pod has 30 s. */
const stopGraceMs = 25_000;
/** A pod whose rank does not run only waits for the answer of the rendezvous. */
const answerMs = 2_000;

/** Runs the pod to its end. Resolves to the exit code of the agent process. */
export async function runAgent(options: AgentOptions): Promise<number> {
  const env = readEnvironment(TrainingEnvironment, options.env);
  const { WL_SECRET: secret, ...rankEnv } = options.env;
  /** What the rank said last, and all that it has said. */
  let news: Progress | undefined;
  let progress: Progress | undefined;
  const session = new Session({
    startRank: (onMessage) => new RankProcess(options.rankCommand, rankEnv, onMessage),
    pods: env.WL_WORLD_SIZE,
    index: env.WL_RANK,
    secretOf: (epoch) => {
      const shared = identity?.current.secret ?? secret;
      return shared === undefined ? '' : rankSecret(shared, env.WL_ATTEMPT, epoch);
    },
    onProgress: (said) => {
      news = said;
      progress = { ...progress, ...said };
      meeting?.report();
    },
  });
  let identity: PodIdentity | undefined;
  let meeting: Awaited<ReturnType<typeof meet>> | undefined;
  const end = await endOf();
  await session.kill();
  await writeLastWords(env.WL_TERMINATION_LOG, lastWords(end, session.last, progress));
  await meeting?.close();
  await identity?.close();
  return end.exitCode;

  async function endOf(): Promise<End> {
    try {
      identity = await identityOf(env, options);
      meeting = await meet(env, session, () => news, options.log, identity);
      return await Promise.race([session.ended, meeting.failed, endAfterGrace(session, options.signal)]);
    } catch (error) {
      if (options.signal.aborted && !meeting) return { exitCode: ExitCode.preempted, restarts: 0 };
      const { code, message, remedy } = toWindlassError(error);
      const exitCode = ExitCode[errorTable[code].exit];
      return { exitCode, restarts: session.restarts, words: { code, message, remedy } };
    }
  }
}

/** Credentials, where pods get some. Nobody joins, reports or computes before. */
async function identityOf(env: TrainingEnvironment, { signal, log }: AgentOptions): Promise<PodIdentity | undefined> {
  const { WL_CREDENTIALS: url, WL_CREDENTIALS_CA: ca, WL_TOKEN_FILE: tokenFile } = env;
  return url === undefined ? undefined : await PodIdentity.obtain({ url, ca: ca ?? '', tokenFile, log, signal });
}

/** Asks to leave when `signal` fires. Resolves only if that takes too long: what is not saved by then is lost. */
async function endAfterGrace(session: Session, signal: AbortSignal): Promise<End> {
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  session.leave();
  const { isRunning } = session;
  await sleep(isRunning ? stopGraceMs : answerMs, undefined, { ref: false });
  return { exitCode: isRunning ? ExitCode.rankLost : ExitCode.preempted, restarts: session.restarts };
}
