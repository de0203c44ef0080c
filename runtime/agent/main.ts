// Entry of `windlass agent`.
import { pino } from 'pino';
import { runAgent } from './agent.ts';

/** Runs the agent of this pod and ends the process with its exit code. SIGTERM and SIGINT stop the ranks in order. */
export async function main(): Promise<never> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  // The kubelet of this machine is gone: nobody would end this pod any more.
  process.on('disconnect', () => stop.abort());
  const logger = pino({
    base: { service: 'agent' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
  });
  const entry = process.argv[1] ?? '';
  const exitCode = await runAgent({
    rankCommand: [process.execPath, entry, 'rank'],
    env: process.env,
    signal: stop.signal,
    log: (fields, message) => logger.info(fields, message),
  });
  process.exit(exitCode);
}
