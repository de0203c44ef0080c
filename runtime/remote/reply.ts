// The answer of a server. Its body is taken up as it comes, so that what came before a connection broke is not lost with it.
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';

/** More is not held for a reader who is slow. */
const heldBytes = 1 << 20;

export class Reply implements Disposable {
  readonly status: number;
  readonly statusMessage: string;
  readonly headers: IncomingHttpHeaders;
  readonly #message: IncomingMessage;
  readonly #held: Buffer[] = [];
  #bytes = 0;
  #end: { error?: Error } | undefined;
  #wake: () => void = () => {};

  /** Call it in the turn in which `message` comes. */
  constructor(message: IncomingMessage) {
    this.#message = message;
    this.status = message.statusCode ?? 0;
    this.statusMessage = message.statusMessage ?? '';
    this.headers = message.headers;
    const end = (error?: Error) => {
      this.#end ??= error ? { error } : {};
      this.#wake();
    };
    message.on('data', (chunk: Buffer) => {
      this.#held.push(chunk);
      this.#bytes += chunk.byteLength;
      if (this.#bytes >= heldBytes) message.pause();
      this.#wake();
    });
    message.on('end', () => end());
    message.on('error', end);
    message.on('close', () => end(new Error('closed')));
  }

  /** The body, to its end or to where it broke off: then it throws why. */
  async *body(): AsyncGenerator<Buffer> {
    for (;;) {
      const chunk = this.#held.shift();
      if (chunk) {
        this.#bytes -= chunk.byteLength;
        if (this.#bytes < heldBytes) this.#message.resume();
        yield chunk;
      } else if (this.#end?.error) throw this.#end.error;
      else if (this.#end) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Breaks off; `error` is what the reader gets. */
  destroy(error?: Error): void {
    this.#message.destroy(error);
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}
