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
import { folderDigest, identityOf } from '#runtime/model/main.ts';
import type { PackedCacheOptions } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { cachedModel, packedRoom } from './cache/model-cache.ts';
import { startupTeller } from './cache/progress.ts';
import { folderSource, remoteSource } from './cache/source.ts';
import { codecOf } from './codec.ts';
import { defaultLimits } from './limits.ts';
import { RequestProfile } from './request-profile.ts';
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
      cacheType: z.string().optional(),
      contextLength: z.int().min(2).optional(),
      speculativeTokens: z.int().min(0).optional(),
    })
    .default({}),
  drain: z.object({ delaySeconds: z.number().min(0).default(0), timeoutSeconds: z.number().min(0).default(30) }).prefault({}),
});
type Drain = z.output<typeof ServiceSpec>['drain'];

/** A connection that nobody has used for so long is closed while the server leaves: longer than clients keep one that they were not told about. */
const idleMs = 10_000;
const lookMs = 50;
/** Time for the last bytes of answers after all requests have ended. */
const lingerMs = 2000;

export interface RunEngineOptions {
  readonly env: Record<string, string | undefined>;
  readonly log: Logger;
  /** Aborted when the process shall end: what runs is finished first, and what still comes is answered for a while. */
  readonly signal: AbortSignal;
  /** Aborted when nobody is to be sent elsewhere, because all of the machine ends: only what runs is finished. */
  readonly hurry?: AbortSignal;
  /** Told the address once requests are answered. */
  readonly onReady?: (url: string) => void;
}

/** Serves until `signal` is aborted or something fails for good. Resolves with the exit code; the last words are in the termination log. */
export async function runEngine({ env, log, signal, hurry, onReady }: RunEngineOptions): Promise<ExitCode> {
  try {
    await serveModel(readEnvironment(ServingEnvironment, env), {
      log,
      signal,
      hurry: hurry ?? new AbortController().signal,
      onReady,
    });
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

interface ServeOptions extends Pick<RunEngineOptions, 'log' | 'signal'> {
  readonly hurry: AbortSignal;
  readonly onReady: RunEngineOptions['onReady'] | undefined;
}

async function serveModel(environment: ServingEnvironment, { log, signal, hurry, onReady }: ServeOptions): Promise<void> {
  const { engine: options, drain } = parseService(environment.WL_SERVICE);
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const server = createServer({
    model: environment.WL_MODEL_NAME,
    alias: environment.WL_MODEL_ALIAS,
    limits: defaultLimits,
    log,
    now: Date.now,
    newId: randomUUID,
  });
  const device = openDevice();
  const profile = profileOf(environment, device, log);
  const observer = { ...server.observer, failed: failed.reject };
  let loaded: LoadedEngine | undefined;
  try {
    const url = await listen(server, environment);
    const modelDir = await modelFolder(environment, server, log);
    server.tell({ phase: 'loading' });
    loaded = await loadEngine({
      modelDir,
      packed: await packedWeights(environment, modelDir, log),
      device,
      options: { ...options, maxWaiting: defaultLimits.waitingSequences },
      observer: profile?.observing(observer) ?? observer,
    });
    await firstToken(loaded);
    await profile?.start();
    // Who never was ready has no clients.
    if (signal.aborted) return;
    server.serve({ engine: loaded.engine, codec: codecOf(loaded.tokenizer, loaded.engine.limits.contextLength) });
    const { blocks, cacheType, cacheBytes } = loaded.engine.stats();
    log.info(
      { url, blocks, cacheType, cacheBytes, ...loaded.engine.limits, startMs: Math.round(process.uptime() * 1000) },
      'ready',
    );
    onReady?.(url);
    await Promise.race([aborted(signal), failed.promise]);
    await leave(drain, server, loaded, log, hurry);
    await profile?.write();
  } finally {
    await loaded?.close();
    await closeServer(server);
    device.close();
  }
}

/** Where the environment asks for one. */
function profileOf(environment: ServingEnvironment, device: Device, log: Logger): RequestProfile | undefined {
  const { WL_PROFILE: folder, WL_POD_NAME: pod, WL_MODEL_NAME: model } = environment;
  return folder === undefined ? undefined : new RequestProfile({ folder, pod, model, device, log });
}

/** Runs a token through the whole model, so that ready means that it answers. */
async function firstToken({ engine, tokenizer }: LoadedEngine): Promise<void> {
  const prompt = [tokenizer.bos ?? tokenizer.eos ?? 0];
  try {
    for await (const piece of engine.generate({ prompt, maxTokens: 1, temperature: 0, ignoreEos: true })) void piece;
  } catch (cause) {
    const { code, message } = toWindlassError(cause);
    // The operation that draws the token has looked at the logits.
    if (code !== 'WL_OP_INVALID' || !message.includes('row of logits')) throw cause;
    throw new WindlassError('WL_LOGITS_NOT_FINITE', 'the model answers no token: its logits are NaN or infinite', { cause });
  }
}

/**
 * For `delaySeconds` new connections are taken as before, until the last proxy knows that this pod goes. Every answer sends its client elsewhere;
 * the end is when no connection is left, at the latest `timeoutSeconds` later. Only then are requests refused.
 */
async function leave(drain: Drain, server: Server, { engine }: LoadedEngine, log: Logger, hurry: AbortSignal): Promise<void> {
  const begun = performance.now();
  const passedMs = () => performance.now() - begun;
  const limitMs = (drain.delaySeconds + drain.timeoutSeconds) * 1000;
  const { connections } = server;
  const { running, waiting } = engine.stats();
  log.info({ running, waiting, connections: connections.count, ...drain }, 'draining');
  server.leave();
  let stays = true;
  while (stays && passedMs() < limitMs) {
    await sleep(lookMs);
    if (hurry.aborted) server.drain();
    connections.closeIdle(hurry.aborted ? 0 : idleMs);
    stays = connections.count > 0 || (!hurry.aborted && passedMs() < drain.delaySeconds * 1000);
  }
  server.drain();
  const left = engine.stats();
  if (left.running + left.waiting > 0) log.warn({ ...left, limitMs }, 'requests are ended: the time to drain is over');
  else log.info('drained');
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

/** Where the model is read, which has the bytes that its version says: on this node if it keeps models. */
async function modelFolder(environment: ServingEnvironment, server: Server, log: Logger): Promise<string> {
  const { WL_MODEL_DIR, WL_MODEL_URI, WL_MODEL_SECRET_DIR, WL_MODEL_DIGEST, WL_MODEL_CACHE, WL_MODEL_CACHE_BYTES } = environment;
  const wanted = WL_MODEL_DIGEST?.replace(/^sha256:/, '');
  const source =
    WL_MODEL_URI === undefined
      ? WL_MODEL_DIR === undefined
        ? undefined
        : folderSource(WL_MODEL_DIR)
      : remoteSource(WL_MODEL_URI, WL_MODEL_SECRET_DIR);
  if (source && wanted && WL_MODEL_CACHE) {
    return await cachedModel(source, wanted, {
      folder: WL_MODEL_CACHE,
      maxBytes: WL_MODEL_CACHE_BYTES,
      onProgress: startupTeller(
        (startup) => {
          server.tell(startup);
          if (startup.trouble !== undefined) log.warn({ code: 'WL_REMOTE_UNAVAILABLE' }, startup.trouble);
        },
        () => performance.now(),
      ),
      onDamaged: (folder) => log.warn({ folder }, 'the model on this node is damaged and is fetched again'),
    });
  }
  if (WL_MODEL_DIR === undefined) throw new WindlassError('WL_INTERNAL', 'the environment names no model that can be read');
  if (!wanted) return WL_MODEL_DIR;
  server.tell({ phase: 'verifying' });
  const found = await folderDigest(WL_MODEL_DIR);
  if (found === wanted) return WL_MODEL_DIR;
  throw new WindlassError('WL_MODEL_CORRUPT', `${WL_MODEL_DIR} has digest ${found}; its ModelVersion says ${wanted}`, {
    details: { path: WL_MODEL_DIR },
  });
}

/** Where the processes of this node share packed weights, if it keeps models. */
async function packedWeights(
  { WL_MODEL_CACHE, WL_MODEL_CACHE_BYTES, WL_MODEL_DIGEST }: ServingEnvironment,
  modelDir: string,
  log: Logger,
): Promise<PackedCacheOptions | undefined> {
  if (WL_MODEL_CACHE === undefined) return undefined;
  return {
    ...(await packedRoom({ folder: WL_MODEL_CACHE, maxBytes: WL_MODEL_CACHE_BYTES })),
    identity: WL_MODEL_DIGEST ?? (await identityOf(modelDir)),
    onTrouble: ({ code, message, remedy }) => log.warn({ code, remedy }, message),
    onShared: ({ path, bytes, isNew }) => log.info({ path, bytes }, isNew ? 'weights packed and shared' : 'weights shared'),
  };
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
