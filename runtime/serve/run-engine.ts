// The life of a serving process: listen, check and load the model, prove it, serve, drain.
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import { ServingEnvironment, readEnvironment } from '#runtime/api/environment.ts';
import { WindlassError, errorTable, toWindlassError } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { TerminationMessage } from '#runtime/api/messages.ts';
import { loadEngine } from '#runtime/engine/main.ts';
import type { LoadedEngine } from '#runtime/engine/main.ts';
import { folderDigest } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { codecOf } from './codec.ts';
import { defaultLimits } from './limits.ts';
import { createServer } from './server.ts';
import type { Server } from './server.ts';

/** The part of an InferenceService's effective spec that the process itself needs. */
const ServiceSpec = z.object({
  engine: z
    .object({
      maxSequences: z.int().min(1).optional(),
      maxBatchedTokens: z.int().min(1).optional(),
      blockSize: z.int().min(1).optional(),
      cacheBytes: z.int().min(1).optional(),
      contextLength: z.int().min(2).optional(),
    })
    .default({}),
  drain: z.object({ timeoutSeconds: z.number().min(0).default(30) }).prefault({}),
});

/** Long enough for a client in use to see `connection: close`, and for the endpoints of the service to change. */
const leavingMs = 1000;
/** Time for the last bytes of answers after all requests have ended. */
const lingerMs = 2000;

export interface RunEngineOptions {
  readonly env: Record<string, string | undefined>;
  readonly log: Logger;
  /** Aborted when the process shall end: what runs is finished first. */
  readonly signal: AbortSignal;
  /** Told the address once requests are answered. */
  readonly onReady?: (url: string) => void;
}

/** Serves until `signal` is aborted or something fails for good. Resolves with the exit code; the last words are in the termination log. */
export async function runEngine({ env, log, signal, onReady }: RunEngineOptions): Promise<ExitCode> {
  try {
    await serveModel(readEnvironment(ServingEnvironment, env), log, signal, onReady);
    return ExitCode.done;
  } catch (thrown) {
    return await lastWords(thrown, { env, log });
  }
}

/** Logs why the process ends, leaves it in the termination log, and gives the exit code that says what may help. */
export async function lastWords(thrown: unknown, { env, log }: Pick<RunEngineOptions, 'env' | 'log'>): Promise<ExitCode> {
  const error = toWindlassError(thrown);
  const { code, remedy } = error;
  log.fatal({ err: error, code, remedy }, 'the engine ends');
  // Kubernetes keeps 4,096 bytes; a pod without a termination log ends all the same.
  const message: TerminationMessage = { code, message: error.message.slice(0, 1000), remedy };
  await writeFile(env['WL_TERMINATION_LOG'] || '/dev/termination-log', JSON.stringify(message)).catch(() => {});
  return ExitCode[errorTable[code].exit];
}

async function serveModel(
  environment: ServingEnvironment,
  log: Logger,
  signal: AbortSignal,
  onReady: RunEngineOptions['onReady'],
): Promise<void> {
  const { engine: options, drain } = parseService(environment.WL_SERVICE);
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const server = createServer({
    model: environment.WL_MODEL_NAME,
    limits: defaultLimits,
    log,
    now: Date.now,
    newId: randomUUID,
  });
  const device = openDevice();
  let loaded: LoadedEngine | undefined;
  try {
    const url = await listen(server, environment);
    await checkDigest(environment);
    loaded = await loadEngine({
      modelDir: environment.WL_MODEL_DIR,
      device,
      options: { ...options, maxWaiting: defaultLimits.waitingSequences },
      observer: { ...server.observer, failed: failed.reject },
    });
    await firstToken(loaded);
    server.serve({ engine: loaded.engine, codec: codecOf(loaded.tokenizer, loaded.engine.limits.contextLength) });
    const { blocks } = loaded.engine.stats();
    log.info({ url, blocks, ...loaded.engine.limits, startMs: Math.round(process.uptime() * 1000) }, 'ready');
    onReady?.(url);
    await Promise.race([aborted(signal), failed.promise]);
    await drainWithin(drain.timeoutSeconds, server, loaded, log);
  } finally {
    await loaded?.close();
    await closeServer(server);
    device.close();
  }
}

/** Runs a token through the whole model, so that ready means that it answers. */
async function firstToken({ engine, tokenizer }: LoadedEngine): Promise<void> {
  const prompt = [tokenizer.bos ?? tokenizer.eos ?? 0];
  for await (const piece of engine.generate({ prompt, maxTokens: 1, temperature: 0, ignoreEos: true })) void piece;
}

/**
 * Clients are sent elsewhere first: what arrives in that moment, on connections that were open before, is still answered. Then new
 * requests are refused, and those that run have `seconds` to end.
 */
async function drainWithin(seconds: number, server: Server, { engine }: LoadedEngine, log: Logger): Promise<void> {
  const { running, waiting } = engine.stats();
  log.info({ running, waiting, seconds }, 'draining');
  server.leave();
  if (await hasConnections(server)) await sleep(Math.min(leavingMs, seconds * 1000));
  server.app.server.closeIdleConnections();
  server.drain();
  const timeout = Promise.withResolvers<'timeout'>();
  const timer = setTimeout(() => timeout.resolve('timeout'), seconds * 1000);
  const outcome = await Promise.race([engine.drain(), timeout.promise]);
  clearTimeout(timer);
  if (outcome === 'timeout')
    log.warn({ running: engine.stats().running, seconds }, 'requests are ended: the time to drain is over');
  else log.info('drained');
}

async function hasConnections({ app }: Server): Promise<boolean> {
  return await new Promise((resolve) => app.server.getConnections((error, count) => resolve(!error && count > 0)));
}

/** Lets answers leave, and cuts connections off whose readers do not take them. */
async function closeServer({ app }: Server): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), lingerMs);
  await app.close();
  clearTimeout(timer);
}

async function listen({ app }: Server, { WL_POD_IP, WL_PORT }: ServingEnvironment): Promise<string> {
  try {
    await app.listen({
      host: WL_POD_IP,
      port: WL_PORT,
      listenTextResolver: (address) => `listening on ${address}, loading the model`,
    });
  } catch (cause) {
    const { code, message } = toWindlassError(cause);
    throw new WindlassError(code, `cannot listen on ${WL_POD_IP}:${WL_PORT}: ${message}`, { cause });
  }
  return `http://${WL_POD_IP}:${(app.server.address() as AddressInfo).port}`;
}

async function checkDigest({ WL_MODEL_DIR, WL_MODEL_DIGEST }: ServingEnvironment): Promise<void> {
  if (!WL_MODEL_DIGEST) return;
  const wanted = WL_MODEL_DIGEST.replace(/^sha256:/, '');
  const found = await folderDigest(WL_MODEL_DIR);
  if (found === wanted) return;
  throw new WindlassError('WL_MODEL_CORRUPT', `${WL_MODEL_DIR} has digest ${found}; its ModelVersion says ${wanted}`, {
    details: { path: WL_MODEL_DIR },
  });
}

function parseService(text: string): z.output<typeof ServiceSpec> {
  try {
    return ServiceSpec.parse(JSON.parse(text));
  } catch (cause) {
    throw new WindlassError('WL_INTERNAL', 'WL_SERVICE does not hold the spec of an InferenceService', { cause });
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
