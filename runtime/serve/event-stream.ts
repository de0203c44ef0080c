// Server-sent events over a Node response, at the pace of the reader.
import type { ServerResponse } from 'node:http';
import type { WindlassError } from '#runtime/api/errors.ts';
import { clientGone } from './client-gone.ts';

/** Sends texts as events. Nothing is buffered here beyond what the socket holds. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #stalledReaderMs: number;
  #flowing: Promise<void> | undefined;
  #isChunked = false;

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
    // Chunks are made here, so that an event is one string for the socket: Node makes four parts of it.
    this.#isChunked = this.#response.chunkedEncoding;
    this.#response.chunkedEncoding = false;
  }

  /**
   * Events of the same turn of the event loop leave in one write. `data` has no line breaks. Waits, if there is a need to, until the socket
   * takes more. Throws or rejects when the reader has gone, or left a full buffer unread for too long.
   */
  send(data: string): Promise<void> | undefined {
    if (this.#response.destroyed) throw clientGone();
    const event = `data: ${data}\n\n`;
    const bytes = Buffer.byteLength(event);
    const text = this.#isChunked ? `${bytes.toString(16)}\r\n${event}\r\n` : event;
    if (!this.#response.write(text, bytes === event.length ? 'latin1' : 'utf8')) this.#flowing ??= this.#untilFlowing();
    return this.#flowing;
  }

  end(): void {
    if (this.#isChunked) this.#response.write('0\r\n\r\n', 'latin1');
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
