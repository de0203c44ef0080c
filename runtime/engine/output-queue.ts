// The pieces of one request on their way to its reader; a slow reader gets them joined.
import type { Output } from './request.ts';

/** One reader. Memory is bounded by one joined piece per completion. */
export class OutputQueue implements AsyncIterableIterator<Output> {
  readonly #pieces = new Map<number, Output>();
  readonly #onEnd: () => void;
  #reader: { resolve: (result: IteratorResult<Output>) => void; reject: (error: unknown) => void } | undefined;
  #ended = false;
  #failure: { error: unknown } | undefined;

  /** `onEnd` is called once: at the end, at a failure, or when the reader leaves early. */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  push(piece: Output): void {
    if (this.#ended) return;
    const reader = this.#reader;
    if (reader) {
      // It waits, so nothing is queued.
      this.#reader = undefined;
      reader.resolve({ done: false, value: piece });
      return;
    }
    const before = this.#pieces.get(piece.index);
    this.#pieces.set(piece.index, before ? join(before, piece) : piece);
  }

  /** Ends the stream behind what is queued. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    this.#serve();
  }

  /** Ends the stream now: what is queued is dropped, the reader gets the error. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#pieces.clear();
    this.#failure = { error };
    this.end();
  }

  next(): Promise<IteratorResult<Output>> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<Output>> {
    this.#pieces.clear();
    this.#failure = undefined;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #serve(): void {
    const reader = this.#reader;
    if (!reader) return;
    const [first] = this.#pieces;
    if (!first && !this.#ended) return;
    this.#reader = undefined;
    if (first) {
      this.#pieces.delete(first[0]);
      reader.resolve({ done: false, value: first[1] });
    } else if (this.#failure) {
      const { error } = this.#failure;
      this.#failure = undefined;
      reader.reject(error);
    } else {
      reader.resolve({ done: true, value: undefined });
    }
  }
}

function join(a: Output, b: Output): Output {
  return {
    ...b,
    text: a.text + b.text,
    tokens: a.tokens.length === 0 ? b.tokens : [...a.tokens, ...b.tokens],
    ...(a.prompt || b.prompt ? { prompt: [...(a.prompt ?? []), ...(b.prompt ?? [])] } : {}),
  };
}
