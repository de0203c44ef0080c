// Entry of `windlass engine`.
import { pino } from 'pino';
import { runEngine } from './run-engine.ts';

export { runEngine } from './run-engine.ts';
export type { RunEngineOptions } from './run-engine.ts';

/** Serves the model that the environment names and ends the process with its exit code. SIGTERM and SIGINT drain. */
export async function main(): Promise<never> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  // Who started this process is gone: nobody would end it any more.
  process.on('disconnect', () => stop.abort());
  const log = pino({ base: { pod: process.env['WL_POD_NAME'] } });
  process.exit(await runEngine({ env: process.env, log, signal: stop.signal }));
}
