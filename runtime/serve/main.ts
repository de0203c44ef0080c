// Entry of `windlass engine`.
import { setFlagsFromString } from 'node:v8';
import { pino } from 'pino';
import { shutDownMessage } from '#runtime/api/environment.ts';
import { lastWords, runEngine } from './run-engine.ts';

/** Serves the model that the environment names and ends the process with its exit code. SIGTERM and SIGINT drain. */
export async function main(): Promise<never> {
  const { env } = process;
  // Garbage of old requests is collected while it is still little, so that memory stays flat under load.
  setFlagsFromString('--heap-growing-percent=30');
  const stop = new AbortController();
  const hurry = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());
  // The kubelet of this machine ends, and then is gone: no other pod answers instead, and nobody would end this one any more.
  process.on('message', (message) => message === shutDownMessage && hurry.abort());
  process.on('disconnect', () => {
    hurry.abort();
    stop.abort();
  });
  const log = pino({ base: { pod: env['WL_POD_NAME'] } });
  process.on('uncaughtException', (thrown) => {
    void lastWords(thrown, { env, log }).then((exitCode) => process.exit(exitCode));
  });
  process.exit(await runEngine({ env, log, signal: stop.signal, hurry: hurry.signal }));
}
