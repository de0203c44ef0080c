// The engine: takes requests, runs step after step over all of them, and hands out their tokens as they come.
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { BlockManager } from './block-manager.ts';
import { advance, createGenerations, draft, workOf } from './generation.ts';
import type { Generation, Vocabulary } from './generation.ts';
import { emptyCounters } from './metrics.ts';
import type { EngineObserver, EngineStats } from './metrics.ts';
import { OutputQueue } from './output-queue.ts';
import type { GenerateRequest, Output } from './request.ts';
import type { Runner, Step, Work, WorkResult } from './runner.ts';
import { Scheduler } from './scheduler.ts';
import type { Chunk } from './scheduler.ts';
import { completionLength } from './sequence.ts';
import { StepPace } from './step-pace.ts';

export interface EngineLimits {
  /** Prompt and completion tokens of a sequence. */
  readonly contextLength: number;
  /** Sequences that may hold cache blocks at the same time. */
  readonly maxSequences: number;
  /** Tokens that one step computes at most. */
  readonly maxBatchedTokens: number;
  /** Sequences that may wait; a request that finds as many is refused with WL_OVERLOADED. */
  readonly maxWaiting: number;
  readonly prefixCache: boolean;
  /** Tokens that are guessed at most from a sequence's own text and checked in one step; default 0. Changes no token, only the speed. */
  readonly speculativeTokens?: number;
}

export interface EngineInit {
  readonly runner: Runner;
  readonly vocabulary: Vocabulary;
  readonly limits: EngineLimits;
  readonly observer?: EngineObserver;
  /** Seconds, monotonic. */
  readonly now: () => number;
  /** 64 random bits, for requests without a seed. */
  readonly randomSeed: () => bigint;
  /** See BlockManagerOptions.hashSeed. */
  readonly hashSeed: string;
}

/** A joining sequence leaves this share of the blocks (1 / share) to those that run. */
const watermarkShare = 100;

/** One model, one device, many sequences. All methods are called from one thread; none blocks. */
export class Engine {
  readonly limits: EngineLimits;
  readonly vocabulary: Vocabulary;
  readonly #init: EngineInit;
  readonly #scheduler: Scheduler;
  readonly #generations = new Map<number, Generation>();
  readonly #counters = emptyCounters();
  readonly #pace = new StepPace();
  /** The step of a long prompt that is under way beside the others. */
  #long: { readonly work: Work; readonly step: Step } | undefined;
  #onIdle: (() => void)[] = [];
  #nextId = 0;
  #looping = false;
  #draining = false;
  #failure: WindlassError | undefined;

  constructor(init: EngineInit) {
    const { limits, runner, vocabulary, hashSeed } = init;
    const { blocks, blockSize } = runner;
    this.limits = limits;
    this.vocabulary = vocabulary;
    this.#init = init;
    const manager = new BlockManager({ blocks, blockSize, prefixCache: limits.prefixCache, hashSeed });
    this.#scheduler = new Scheduler(manager, {
      maxSequences: limits.maxSequences,
      maxBatchedTokens: limits.maxBatchedTokens,
      maxChunkAmongOthers: Math.ceil(limits.maxBatchedTokens / 2),
      shortRows: () => this.#pace.shortRows,
      longRows: () => this.#pace.longRows,
      watermarkBlocks: Math.floor(blocks / watermarkShare),
    });
  }

  /** What ended the engine, if something did: a step failed, so the device cannot be trusted any more. */
  get failure(): WindlassError | undefined {
    return this.#failure;
  }

  /**
   * Starts a request. The pieces of each completion come in order; the stream ends after the last piece of the last one. Leaving the
   * stream early or aborting `signal` gives its cache blocks back at once; an aborted stream throws the signal's reason.
   * Throws at once WL_REQUEST_INVALID, WL_PROMPT_TOO_LONG, WL_OVERLOADED, WL_DRAINING, or what ended the engine.
   */
  generate(request: GenerateRequest, options: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<Output> {
    const { signal } = options;
    signal?.throwIfAborted();
    this.#admit(request);
    const onAbort = () => queue.fail(signal?.reason);
    const queue = new OutputQueue(() => {
      signal?.removeEventListener('abort', onAbort);
      this.#drop(queue);
    });
    const generations = createGenerations(request, {
      queue,
      seed: request.seed === undefined ? this.#init.randomSeed() : BigInt(request.seed),
      contextLength: this.limits.contextLength,
      endOfText: this.vocabulary.endOfText,
      now: this.#init.now(),
      nextId: () => (this.#nextId += 1),
    });
    for (const generation of generations) this.#scheduler.add(generation.sequence);
    for (const generation of generations) this.#generations.set(generation.sequence.id, generation);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#counters.requests += 1;
    if (!this.#looping) void this.#loop();
    return queue;
  }

  stats(): EngineStats {
    const { pool, lookups } = this.#scheduler.blocks;
    return {
      ...this.#counters,
      finished: { ...this.#counters.finished },
      running: this.#scheduler.running.length,
      waiting: this.#scheduler.waiting.length,
      preemptions: this.#scheduler.preemptions,
      blocks: pool.size,
      usedBlocks: pool.used,
      cacheType: this.#init.runner.cacheType,
      cacheBytes: pool.size * this.#init.runner.blockBytes,
      prefixQueries: lookups.queried,
      prefixHits: lookups.hit,
    };
  }

  /** Counts the cache blocks by walking them. Throws WL_INTERNAL if the books are wrong. */
  checkBlocks(): { free: number; cached: number; used: number } {
    return this.#scheduler.blocks.pool.check();
  }

  /** Refuses new requests from now on, and waits until those known have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.#whenIdle();
  }

  /** Ends all requests with WL_DRAINING, waits for the step in flight and frees the cache. */
  async close(): Promise<void> {
    this.#draining = true;
    this.#failAll(new WindlassError('WL_DRAINING', 'the engine is shutting down'));
    await this.#whenIdle();
    this.#init.runner.close();
  }

  #admit(request: GenerateRequest): void {
    const { prompt, maxTokens } = request;
    if (this.#failure) throw this.#failure;
    if (this.#draining) throw new WindlassError('WL_DRAINING', 'the engine is shutting down and takes no new requests');
    const { maxWaiting, contextLength } = this.limits;
    const waiting = this.#scheduler.waiting.length;
    if (waiting >= maxWaiting)
      throw new WindlassError('WL_OVERLOADED', `${waiting} sequences are waiting; at most ${maxWaiting} may`);
    if (prompt.length === 0) throw new WindlassError('WL_REQUEST_INVALID', 'the prompt has no tokens; at least one is needed');
    const foreign = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= this.vocabulary.size);
    if (foreign !== undefined) {
      throw new WindlassError(
        'WL_REQUEST_INVALID',
        `the prompt has token ${foreign}; the vocabulary has ${this.vocabulary.size}`,
      );
    }
    if ((request.minTokens ?? 0) > (maxTokens ?? contextLength - prompt.length)) {
      throw new WindlassError('WL_REQUEST_INVALID', `min_tokens: ${request.minTokens} is more than may be generated`, {
        details: { param: 'min_tokens' },
      });
    }
    checkTokens('stop_token_ids', request.stopTokens ?? [], this.vocabulary.size);
    checkTokens('logit_bias', request.logitBias?.keys() ?? [], this.vocabulary.size);
    if (prompt.length + (maxTokens ?? 1) > contextLength) {
      const wanted = maxTokens === undefined ? 'and one to generate' : `and ${maxTokens} to generate`;
      throw new WindlassError(
        'WL_PROMPT_TOO_LONG',
        `${prompt.length} prompt tokens ${wanted} exceed the context of ${contextLength} tokens`,
        { details: { limit: contextLength } },
      );
    }
  }

  /** One await per step or slice of a long prompt, which take turns; requests come and go meanwhile. */
  async #loop(): Promise<void> {
    this.#looping = true;
    // Requests that arrive in the same turn share the first step.
    await Promise.resolve();
    try {
      while (this.#scheduler.hasWork()) {
        const stepped = await this.#step();
        const advanced = await this.#advanceLong();
        if (!stepped && !advanced) throw new Error('internal: there is work, and nothing to compute');
      }
    } catch (error) {
      this.#failure = toWindlassError(error);
      this.#scheduler.blocks.pool.reset();
      this.#failAll(this.#failure);
      this.#init.observer?.failed?.(this.#failure);
    } finally {
      this.#long?.step.close();
      this.#long = undefined;
      this.#looping = false;
      this.#reportIdle();
    }
  }

  /** Runs the next step; false if all work is of long prompts. */
  async #step(): Promise<boolean> {
    this.#draft();
    const { chunks } = this.#scheduler.schedule();
    if (chunks.length === 0) return false;
    const work = chunks.map((chunk) => this.#workOf(chunk));
    const begunAt = this.#init.now();
    const step = this.#init.runner.begin(work);
    const results = (await step.advance(step.layersLeft))!;
    this.#pace.observe(rowsOf(work), this.#init.now() - begunAt);
    this.#counters.steps += 1;
    for (const [index, result] of results.entries()) this.#apply(work[index]!, result);
    return true;
  }

  /** Computes the next layers of a long prompt; false if there is none. */
  async #advanceLong(): Promise<boolean> {
    const chunk = this.#scheduler.scheduleLong();
    if (this.#long?.work.chunk !== chunk) {
      this.#long?.step.close();
      const work = chunk && this.#workOf(chunk);
      this.#long = work && { work, step: this.#init.runner.begin([work]) };
    }
    if (!chunk || !this.#long) return false;
    const { work, step } = this.#long;
    const layers = Math.min(this.#pace.layersOf(chunk.count), step.layersLeft);
    const begunAt = this.#init.now();
    const results = await step.advance(layers);
    this.#pace.observeSlice(chunk.count, layers, this.#init.now() - begunAt);
    if (!results) return true;
    this.#long = undefined;
    this.#counters.steps += 1;
    if (this.#scheduler.completeLong(chunk)) this.#apply(work, results[0]!);
    return true;
  }

  #workOf(chunk: Chunk): Work {
    return workOf(chunk, this.#generations.get(chunk.sequence.id)!);
  }

  /** Guesses for sequences that draw in the next step. */
  #draft(): void {
    const { speculativeTokens = 0 } = this.limits;
    const { running } = this.#scheduler;
    if (speculativeTokens === 0) return;
    for (const { id } of running) draft(this.#generations.get(id)!, running.length, speculativeTokens);
  }

  #apply({ chunk }: Work, result: WorkResult): void {
    const { sequence } = chunk;
    const generation = this.#generations.get(sequence.id);
    if (!generation) return;
    if (chunk.last && completionLength(sequence) === 0) this.#counters.promptTokens += sequence.promptLength;
    try {
      const before = completionLength(sequence);
      const reason = advance(generation, chunk, result, this.vocabulary);
      const drawn = completionLength(sequence) - before;
      if (chunk.drafts.length > 0) {
        this.#counters.drafts += 1;
        this.#counters.draftTokens += chunk.drafts.length;
        this.#counters.acceptedTokens += drawn - 1;
      }
      for (let token = 0; token < drawn; token += 1) this.#observeToken(generation);
      if (!reason) return;
      this.#counters.finished[reason] += 1;
      this.#init.observer?.finished?.(reason, this.#init.now() - generation.arrivedAt, sequence);
      this.#retire(generation);
      if (this.#completionsOf(generation.queue).length === 0) generation.queue.end();
    } catch (error) {
      this.#fail(generation.queue, toWindlassError(error));
    }
  }

  #observeToken(generation: Generation): void {
    const now = this.#init.now();
    this.#counters.generationTokens += 1;
    if (generation.lastTokenAt === undefined) this.#init.observer?.firstToken?.(now - generation.arrivedAt);
    else this.#init.observer?.nextToken?.(now - generation.lastTokenAt);
    generation.lastTokenAt = now;
  }

  /** Ends one request; the others do not notice. */
  #fail(queue: OutputQueue, error: WindlassError): void {
    const open = this.#completionsOf(queue);
    for (const generation of open) this.#retire(generation);
    this.#counters.finished.error += open.length;
    queue.fail(error);
  }

  #failAll(error: WindlassError): void {
    for (const queue of new Set(Array.from(this.#generations.values(), (generation) => generation.queue)))
      this.#fail(queue, error);
  }

  /** Frees what a request still holds when its stream has ended: nothing, unless its reader left or aborted. */
  #drop(queue: OutputQueue): void {
    const open = this.#completionsOf(queue);
    for (const generation of open) this.#retire(generation);
    this.#counters.finished.abort += open.length;
    if (open.length > 0) this.#reportIdle();
  }

  #completionsOf(queue: OutputQueue): Generation[] {
    return [...this.#generations.values()].filter((generation) => generation.queue === queue);
  }

  #retire({ sequence }: Generation): void {
    this.#scheduler.finish(sequence);
    this.#generations.delete(sequence.id);
  }

  #reportIdle(): void {
    if (this.#looping || this.#scheduler.hasWork()) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  #whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      this.#onIdle.push(resolve);
      this.#reportIdle();
    });
  }
}

function rowsOf(work: readonly Work[]): number {
  return work.reduce((rows, { chunk: { count, drafts } }) => rows + count + drafts.length, 0);
}

function checkTokens(param: string, ids: Iterable<number>, size: number): void {
  for (const id of ids) {
    if (Number.isInteger(id) && id >= 0 && id < size) continue;
    throw new WindlassError('WL_REQUEST_INVALID', `${param} has token ${id}; the vocabulary has ${size}`, { details: { param } });
  }
}
