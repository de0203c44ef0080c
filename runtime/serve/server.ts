// The HTTP server: routes, limits, readiness, and the shape of refusals.
import fastify, { LogController } from 'fastify';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { WindlassError } from '#runtime/api/errors.ts';
import type { Startup } from '#runtime/api/messages.ts';
import type { Engine } from '#runtime/engine/main.ts';
import type { EngineObserver } from '#runtime/engine/main.ts';
import { chatExchange } from './chat.ts';
import type { TextCodec } from './codec.ts';
import { completionsExchange } from './completions.ts';
import { Connections } from './connections.ts';
import { handleGeneration } from './generation-handler.ts';
import type { Protocol } from './generation-handler.ts';
import { fromFramework, refuseConnection } from './http-errors.ts';
import { parseJsonBody } from './json-body.ts';
import type { ServerLimits } from './limits.ts';
import { createMetrics } from './metrics.ts';
import { toProtocolError } from './protocol-error.ts';

/** What is served, once it is loaded. */
interface ServedEngine {
  readonly engine: Engine;
  readonly codec: TextCodec;
}

export interface ServerOptions {
  /** Name under which the model is served. */
  readonly model: string;
  /** Another name under which it is asked for. */
  readonly alias?: string | undefined;
  readonly limits: ServerLimits;
  readonly log: FastifyBaseLogger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** A new unguessable id per request. */
  readonly newId: () => string;
}

export interface Server {
  readonly app: FastifyInstance;
  /** For the engine: its times go to /metrics. */
  readonly observer: EngineObserver;
  /** What /startup tells until requests are answered. */
  tell(startup: Startup): void;
  /** From now on requests are answered, and /ready says so. */
  serve(served: ServedEngine): void;
  readonly connections: Connections;
  /** From now on /ready says 503, and every connection ends with its next answer, so that clients go elsewhere; requests are still answered. */
  leave(): void;
  /** From now on new requests are refused; running ones go on. */
  drain(): void;
}

/** A server that is not listening yet. While there is no engine, requests are refused with WL_LOADING. */
export function createServer(options: ServerOptions): Server {
  const { model, alias, limits, now } = options;
  const startedAt = now();
  let served: ServedEngine | undefined;
  let startup: Startup = { phase: 'loading' };
  let stage: 'serving' | 'leaving' | 'draining' = 'serving';
  const metrics = createMetrics(model, () => served?.engine.stats());
  const app = createApp(options);
  const connections = new Connections(app.server, () => performance.now());

  const readyEngine = (): ServedEngine => {
    if (stage === 'draining') throw new WindlassError('WL_DRAINING', 'the server is shutting down and takes no new requests');
    if (!served) throw new WindlassError('WL_LOADING', `the model ${model} is not loaded yet`);
    if (served.engine.failure) throw served.engine.failure;
    return served;
  };

  const generation = (protocol: Protocol) => (request: FastifyRequest, reply: FastifyReply) => {
    const { engine, codec } = readyEngine();
    checkModel((request.body as { model?: unknown } | null)?.model);
    return handleGeneration(request, reply, {
      engine,
      protocol,
      served: {
        model,
        codec,
        limits,
        contextLength: engine.limits.contextLength,
        created: Math.floor(now() / 1000),
        id: request.id,
      },
      onStreamError: (error) => note(request, reply, error),
    });
  };

  const modelObject = () => ({
    id: model,
    object: 'model',
    created: Math.floor(startedAt / 1000),
    owned_by: 'windlass',
    ...(served ? { max_model_len: served.engine.limits.contextLength } : {}),
  });

  const checkModel = (name: unknown): void => {
    if (name === undefined || name === null || name === model || (alias !== undefined && name === alias)) return;
    const details = { param: 'model' };
    if (typeof name !== 'string') throw new WindlassError('WL_REQUEST_INVALID', 'model: expected a string', { details });
    throw new WindlassError('WL_OBJECT_NOT_FOUND', `the model ${name.slice(0, 200)} is not served here; ${model} is`, {
      details,
    });
  };

  /** Logs and counts a request that did not end well. Faults of the client are no errors of ours. */
  const note = (request: FastifyRequest, reply: FastifyReply, thrown: unknown): void => {
    const error = fromFramework(thrown, limits);
    const { status } = toProtocolError(error);
    metrics.refused(error.code);
    const fields = { route: request.routeOptions.url, status, code: error.code, ms: Math.round(reply.elapsedTime) };
    if (status >= 500 && status !== 503) request.log.error({ ...fields, err: error }, 'failed');
    else request.log.info(fields, 'refused');
  };

  const refuse = (request: FastifyRequest, reply: FastifyReply, thrown: unknown): FastifyReply => {
    // Probes ask every second; that the answer is "not yet" is no event.
    if (request.routeOptions.url !== '/ready') note(request, reply, thrown);
    const { status, retry, body } = toProtocolError(fromFramework(thrown, limits));
    if (retry) reply.header('retry-after', limits.retryAfterSeconds);
    return reply.code(status).send(body);
  };

  app.setErrorHandler((error, request, reply) => refuse(request, reply, error));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]!.slice(0, 200);
    return refuse(request, reply, new WindlassError('WL_OBJECT_NOT_FOUND', `there is no ${request.method} ${path}`));
  });
  app.get('/health', () => {
    if (served?.engine.failure) throw served.engine.failure;
    return { status: 'ok' };
  });
  app.get('/ready', () => {
    readyEngine();
    if (stage !== 'serving') throw new WindlassError('WL_DRAINING', 'the server is shutting down');
    return { status: 'ready' };
  });
  app.get('/startup', () => (served ? { phase: 'ready' } : startup));
  app.get('/metrics', async (_request, reply) => {
    const { type, text } = await metrics.expose();
    return reply.type(type).send(text);
  });
  app.get('/v1/models', () => ({ object: 'list', data: [modelObject()] }));
  app.get<{ Params: { '*': string } }>('/v1/models/*', (request) => {
    checkModel(request.params['*']);
    return modelObject();
  });
  app.post('/v1/completions', generation(completionsExchange));
  app.post('/v1/chat/completions', generation(chatExchange));

  return {
    app,
    observer: metrics.observer,
    tell: (next) => (startup = next),
    serve: (loaded) => (served = loaded),
    connections,
    leave: () => {
      stage = 'leaving';
      connections.leave();
    },
    drain: () => {
      stage = 'draining';
      connections.leave();
    },
  };
}

/** The framework with the limits of transport and body; it parses JSON only. */
function createApp({ limits, log, newId }: ServerOptions): FastifyInstance {
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: newId,
    bodyLimit: limits.bodyBytes,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.idleTimeoutMs,
    http: { maxHeaderSize: limits.headerBytes, headersTimeout: limits.headerTimeoutMs, connectionsCheckingInterval: 1000 },
    clientErrorHandler: refuseConnection,
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parseJsonBody(body as Buffer, limits));
    } catch (error) {
      done(error as Error);
    }
  });
  return app;
}
