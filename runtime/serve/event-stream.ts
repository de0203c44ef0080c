// Server-sent events over a Node response, at the pace of the reader.
import type { ServerResponse } from 'node:http';
import type { WindlassError } from '#runtime/api/errors.ts';
import { clientGone } from './client-gone.ts';

/** Sends JSON objects as events. Nothing is buffered here beyond what the socket holds. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #stalledReaderMs: number;
  #flowing: Promise<void> | undefined;

  constructor(response: ServerResponse, options: { readonly stalledReaderMs: number }) {
    this.#response = response;
    this.#stalledReaderMs = options.stalledReaderMs;
  }

  open(): void {
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
    });
    this.#response.flushHeaders();
  }

  /** Resolves when the socket takes more. Rejects when the reader has gone, or left a full buffer unread for too long. */
  async send(event: object | '[DONE]'): Promise<void> {
    if (this.#response.destroyed) throw clientGone();
    const text = typeof event === 'string' ? event : JSON.stringify(event);
    if (!this.#response.write(`data: ${text}\n\n`)) this.#flowing ??= this.#untilFlowing();
    await this.#flowing;
  }

  end(): void {
    this.#response.end();
  }

  #untilFlowing(): Promise<void> {
    const response = this.#response;
    return new Promise((resolve, reject) => {
      const settle = (error?: WindlassError) => {
        clearTimeout(timer);
        response.off('drain', onDrain).off('close', onClose);
        this.#flowing = undefined;
        if (error) reject(error);
        else resolve();
      };
      const onDrain = () => settle();
      const onClose = () => settle(clientGone());
      const timer = setTimeout(() => response.destroy(), this.#stalledReaderMs);
      response.on('drain', onDrain).on('close', onClose);
    });
  }
}
