// Our engine in this process: tokens per second of prompts, of one sequence and of several.
import { loadEngine } from '#runtime/engine/main.ts';
import type { LoadedEngine } from '#runtime/engine/main.ts';
import type { CacheType, Device } from '#runtime/tensor/main.ts';
import { freshPrompt } from './subject.ts';
import type { Subject } from './subject.ts';

/** A rate, and the processor time that it took. */
export interface Speed {
  readonly tokensPerSecond: number;
  readonly cpuSecondsPerToken: number;
}

export class OurEngine {
  readonly #loaded: LoadedEngine;
  readonly #subject: Subject;
  readonly #watch: TokenWatch;

  private constructor(loaded: LoadedEngine, subject: Subject, watch: TokenWatch) {
    this.#loaded = loaded;
    this.#subject = subject;
    this.#watch = watch;
  }

  static async load(subject: Subject, device: Device, cacheType?: CacheType): Promise<OurEngine> {
    const watch: TokenWatch = { onToken: () => {} };
    const observer = { firstToken: () => watch.onToken(true), nextToken: () => watch.onToken(false) };
    return new OurEngine(await loadEngine({ modelDir: subject.ours, device, observer, options: { cacheType } }), subject, watch);
  }

  /** A prompt of `length` tokens, until its first token is drawn. */
  async prefill(length: number): Promise<Speed> {
    const clock = new Clock();
    await this.#generate(length, 1);
    return clock.speed(length);
  }

  /** `count` tokens after the first one of a sequence whose prompt has `depth`. */
  async decode(count: number, depth = 0): Promise<Speed> {
    return await this.decodeTogether({ sequences: 1, promptLength: Math.max(depth, 1), count });
  }

  /** `count` tokens for each of several sequences, from when all of them have their first one; all of them run until then. */
  async decodeTogether({ sequences, promptLength, count }: Together): Promise<Speed> {
    const enough = new AbortController();
    let clock: Clock | undefined;
    let speed: Speed | undefined;
    let [waiting, tokens] = [sequences, 0];
    this.#watch.onToken = (isFirst) => {
      if (isFirst) waiting -= 1;
      if (clock) tokens += 1;
      else if (waiting === 0) clock = new Clock();
      if (!clock || speed || tokens < sequences * count) return;
      speed = clock.speed(tokens);
      enough.abort();
    };
    // Those whose prompts are done first are ahead of the others by some tokens.
    const generating = Array.from({ length: sequences }, () => this.#generate(promptLength, 2 * count + 1, enough.signal));
    for (const result of await Promise.allSettled(generating)) {
      if (result.status === 'fulfilled') throw new Error('internal: a sequence ended while others were still to be measured');
      if (result.reason !== enough.signal.reason) throw result.reason;
    }
    if (!speed) throw new Error('internal: the sequences ended before they were measured');
    return speed;
  }

  async close(): Promise<void> {
    await this.#loaded.close();
  }

  async #generate(promptLength: number, maxTokens: number, signal?: AbortSignal): Promise<void> {
    const prompt = freshPrompt(this.#subject, promptLength);
    const request = { prompt, maxTokens, temperature: 0, ignoreEos: true };
    for await (const piece of this.#loaded.engine.generate(request, signal ? { signal } : {})) void piece;
  }
}

/** Told when a token is drawn, however late its text comes. */
interface TokenWatch {
  onToken: (isFirst: boolean) => void;
}

export interface Together {
  readonly sequences: number;
  readonly promptLength: number;
  readonly count: number;
}

class Clock {
  readonly #begin = performance.now();
  readonly #cpuBegin = process.cpuUsage();

  speed(tokens: number): Speed {
    const seconds = (performance.now() - this.#begin) / 1e3;
    const { user, system } = process.cpuUsage(this.#cpuBegin);
    return { tokensPerSecond: tokens / seconds, cpuSecondsPerToken: (user + system) / 1e6 / tokens };
  }
}
