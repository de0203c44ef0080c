// Main process of a training pod: starts the rank process, restarts it in place, passes its progress on, and says why the pod ended.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectBusPublisher } from '#runtime/api/bus-socket.ts';
import { readEnvironment, TrainingEnvironment } from '#runtime/api/environment.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { RankMessage } from '#runtime/api/messages.ts';
import type { Progress, PublishedModel, TerminationMessage } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import { writeLastWords } from './last-words.ts';
import { tailLines } from './log-tail.ts';
import { decideAfterExit } from './restart.ts';
import type { RankExit } from './restart.ts';

export interface AgentOptions {
  /** Command line of the rank process. */
  readonly rankCommand: readonly string[];
  readonly env: Record<string, string | undefined>;
  /** Ends the rank in order (it saves a checkpoint) and then the agent. */
  readonly signal: AbortSignal;
}

/** How long a rank may take to save and end after SIGTERM before it is killed. */
const stopGraceMs = 25_000;

interface Memory {
  progress?: Progress;
  published?: PublishedModel;
  failure?: Extract<RankMessage, { type: 'failed' }>;
}

/** Runs the pod to its end. Resolves to the exit code of the agent process. */
export async function runAgent(options: AgentOptions): Promise<number> {
  const env = readEnvironment(TrainingEnvironment, options.env);
  const bus = connectBusPublisher(env.WL_BUS);
  const memory: Memory = {};
  let restarts = 0;

  const report = (progress: Progress) => {
    memory.progress = { ...memory.progress, ...progress };
    const time = new Date().toISOString();
    bus.publish(progressSubject(env.WL_NAMESPACE, env.WL_NAME), {
      uid: env.WL_UID,
      attempt: env.WL_ATTEMPT,
      rank: env.WL_RANK,
      pod: env.WL_POD_NAME,
      time,
      restarts,
      progress,
    });
  };

  for (;;) {
    delete memory.failure;
    const logLines: string[] = [];
    const exit = await runRank(options, memory, report, logLines);
    const decision = decideAfterExit(exit, restarts, env.WL_MAX_RESTARTS, options.signal.aborted);
    if (decision.action === 'end') {
      await writeLastWords(env.WL_TERMINATION_LOG, lastWords(exit, memory, env.WL_RANK, logLines, restarts));
      await bus.close(1_000);
      return decision.exitCode;
    }
    restarts += 1;
    report({
      step: memory.progress?.step ?? 0,
      steps: memory.progress?.steps ?? 0,
      phase: `restarting (${restarts} of ${env.WL_MAX_RESTARTS})`,
    });
    await sleep(decision.delayMs, undefined, { signal: options.signal }).catch(() => {});
  }
}

async function runRank(
  options: AgentOptions,
  memory: Memory,
  report: (progress: Progress) => void,
  logLines: string[],
): Promise<RankExit> {
  const [command = '', ...args] = options.rankCommand;
  const child = spawn(command, args, { env: options.env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  if (child.stdout) tailLines(child.stdout, (line) => process.stdout.write(`${line}\n`), logLines);
  if (child.stderr) tailLines(child.stderr, (line) => process.stderr.write(`${line}\n`), logLines);
  child.on('message', (raw) => {
    const parsed = RankMessage.safeParse(raw);
    if (!parsed.success) return;
    if (parsed.data.type === 'progress') report(parsed.data.progress);
    else if (parsed.data.type === 'published') memory.published = parsed.data.model;
    else if (parsed.data.type === 'failed') memory.failure = parsed.data;
  });
  const stop = stopOnAbort(child, options.signal);
  const exit = await new Promise<RankExit>((resolve) => {
    child.on('error', (error) => {
      logLines.push(error.message);
      resolve({ code: ExitCode.retryable, signal: null });
    });
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  stop();
  return exit;
}

/** Asks the child to end when `signal` fires, and kills it if it does not. Returns the way to stop watching. */
function stopOnAbort(child: ChildProcess, signal: AbortSignal): () => void {
  let killTimer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    child.kill('SIGTERM');
    killTimer = setTimeout(() => child.kill('SIGKILL'), stopGraceMs);
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return () => {
    clearTimeout(killTimer);
    signal.removeEventListener('abort', onAbort);
  };
}

function lastWords(
  exit: RankExit,
  memory: Memory,
  rank: number,
  logLines: readonly string[],
  restarts: number,
): TerminationMessage {
  const common = { ...(memory.progress ? { progress: memory.progress } : {}), ...(restarts > 0 ? { restarts } : {}) };
  if (exit.code === ExitCode.done) return { ...common, ...(memory.published ? { published: memory.published } : {}) };
  const failure = memory.failure;
  if (exit.code === ExitCode.preempted && !failure)
    return { ...common, rank, message: `rank ${rank} was stopped and saved its state` };
  const silent = exit.signal
    ? `rank ${rank} was ended by ${exit.signal}`
    : `rank ${rank} ended with code ${exit.code} and said nothing`;
  return {
    ...common,
    rank,
    message: failure?.message ?? silent,
    ...(failure ? { code: failure.code, remedy: failure.remedy } : {}),
    ...(failure?.step === undefined ? {} : { step: failure.step }),
    logTail: logLines.join('\n'),
  };
}
