// Runs one request for text, from its parsed body to the last byte of the answer, whole or streamed.
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Engine } from '#runtime/engine/main.ts';
import { clientGone } from './client-gone.ts';
import type { Served } from './completions.ts';
import { EventStream } from './event-stream.ts';
import { Collector, runExchange } from './exchange.ts';
import type { Exchange, Generate, UsageTotals } from './exchange.ts';
import { toProtocolError } from './protocol-error.ts';

/** Makes engine requests of a body, and answers of their pieces. */
export type Protocol = (body: unknown, served: Served) => Exchange;

export interface GenerationContext {
  readonly engine: Engine;
  readonly served: Served;
  readonly protocol: Protocol;
  /** Told about the end of a request whose error can no longer change the status. */
  readonly onStreamError: (error: unknown) => void;
}

/** The client's going ends the request, and its cache blocks are free at once. Throws what happens before the first byte is sent. */
export async function handleGeneration(
  request: FastifyRequest,
  reply: FastifyReply,
  context: GenerationContext,
): Promise<unknown> {
  const exchange = context.protocol(request.body, context.served);
  const controller = new AbortController();
  const onClose = () => controller.abort(clientGone());
  reply.raw.once('close', onClose);
  const generate: Generate = (wanted) => context.engine.generate(wanted, { signal: controller.signal });
  try {
    if (exchange.stream) return await stream(request, reply, exchange, generate, context);
    const collector = new Collector();
    const usage = await runExchange(exchange, generate, (index, piece) => collector.add(index, piece));
    logAnswered(request, reply, usage);
    return exchange.answer(collector.completions, usage.toJson());
  } finally {
    reply.raw.off('close', onClose);
    // Whatever still runs has lost its reader.
    controller.abort();
  }
}

async function stream(
  request: FastifyRequest,
  reply: FastifyReply,
  exchange: Exchange,
  generate: Generate,
  { served, onStreamError }: GenerationContext,
): Promise<FastifyReply> {
  const events = new EventStream(reply.raw, served.limits);
  let opening: Promise<void> | undefined;
  let isOpen = false;
  const open = async (usage: UsageTotals) => {
    reply.hijack();
    events.open();
    for (const chunk of exchange.opening(usage)) await events.send(chunk);
  };
  try {
    const usage = await runExchange(exchange, generate, (index, piece, soFar) => {
      if (isOpen) return events.send(exchange.chunk(index, piece, soFar));
      // The status is decided by the first piece, so that what the engine refuses is no broken stream.
      return (opening ??= open(soFar)).then(() => {
        isOpen = true;
        return events.send(exchange.chunk(index, piece, soFar));
      });
    });
    if (exchange.includeUsage) await events.send(JSON.stringify(exchange.usageChunk(usage.toJson())));
    await events.send('[DONE]');
    logAnswered(request, reply, usage);
  } catch (error) {
    if (!opening) throw error;
    onStreamError(error);
    if (!reply.raw.destroyed) await events.send(JSON.stringify(toProtocolError(error).body))?.catch(() => {});
  }
  events.end();
  return reply;
}

function logAnswered(request: FastifyRequest, reply: FastifyReply, { promptTokens, completionTokens }: UsageTotals): void {
  const ms = Math.round(reply.elapsedTime);
  request.log.info({ route: request.routeOptions.url, promptTokens, completionTokens, ms }, 'answered');
}
