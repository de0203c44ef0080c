// Entry of `windlass rank`: runs the rank, tells the agent how it goes, and ends with the exit code that the operator reads.
import { pino } from 'pino';
import { readEnvironment, TrainingEnvironment } from '#runtime/api/environment.ts';
import { errorTable, toWindlassError } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { RankLink } from '#runtime/api/rank-link.ts';
import { runRank } from './rank.ts';
import { farewell } from './world.ts';

/** Runs the rank that the environment describes and ends the process. SIGTERM and SIGINT ask for a checkpoint first. */
export async function main(): Promise<never> {
  const logger = pino({
    base: { service: 'rank' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
  });
  const link = new RankLink();
  const fail = async (thrown: unknown): Promise<never> => {
    const error = toWindlassError(thrown);
    logger.error({ err: error, code: error.code, remedy: error.remedy, ...error.details }, error.message);
    const step = typeof error.details['step'] === 'number' ? { step: error.details['step'] } : {};
    await link.send({ type: 'failed', code: error.code, message: error.message, remedy: error.remedy, ...step });
    process.exit(ExitCode[errorTable[error.code].exit]);
  };
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  // The agent is gone: nobody would take the result, and a new agent starts a rank of its own.
  process.on('disconnect', () => process.exit(ExitCode.rankLost));
  process.on('uncaughtException', (thrown) => void fail(thrown));
  try {
    const env = readEnvironment(TrainingEnvironment, process.env);
    const log = (fields: object, message: string) => logger.info(fields, message);
    const end = await runRank({ env, link, log, signal: stop.signal });
    await farewell();
    await link.settled();
    process.exit(end === 'interrupted' ? ExitCode.preempted : ExitCode.done);
  } catch (thrown) {
    return await fail(thrown);
  }
}
