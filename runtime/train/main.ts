// Entry of `windlass rank`: runs the rank, tells the agent how it goes, and ends with the exit code that the operator reads.
import { pino } from 'pino';
import { readEnvironment, TrainingEnvironment } from '#runtime/api/environment.ts';
import { errorTable, toWindlassError } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { RankMessage } from '#runtime/api/messages.ts';
import { runRank } from './rank.ts';

/** Runs the rank that the environment describes and ends the process. */
export async function main(): Promise<never> {
  const logger = pino({
    base: { service: 'rank' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
  });
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  // The agent is gone: nobody would take the result, and a new agent starts a rank of its own.
  process.on('disconnect', () => process.exit(ExitCode.rankLost));
  try {
    const env = readEnvironment(TrainingEnvironment, process.env);
    const end = await runRank({ env, send, log: (fields, message) => logger.info(fields, message), signal: stop.signal });
    await sent();
    process.exit(end === 'interrupted' ? ExitCode.preempted : ExitCode.done);
  } catch (thrown) {
    const error = toWindlassError(thrown);
    logger.error({ err: error, code: error.code }, error.message);
    const step = typeof error.details['step'] === 'number' ? { step: error.details['step'] } : {};
    send({ type: 'failed', code: error.code, message: error.message, remedy: error.remedy, ...step });
    await sent();
    process.exit(ExitCode[errorTable[error.code].exit]);
  }
}

function send(message: RankMessage): void {
  if (process.connected) process.send?.(message);
}

/** Resolves when what was sent has left this process. */
function sent(): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || !process.send) resolve();
    else process.send({ type: 'flush' }, () => resolve());
  });
}
