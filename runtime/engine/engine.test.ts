// The engine over a fake runner: streams, endings, cancellation, overload, failures, draining.
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Engine } from './engine.ts';
import type { EngineLimits } from './engine.ts';
import { byteVocabulary, endOfText, fakeRunner } from './fake-runner.ts';
import type { FakeRunnerOptions } from './fake-runner.ts';
import type { EngineObserver } from './metrics.ts';
import type { GenerateRequest, Output } from './request.ts';

const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];

function setup(options: FakeRunnerOptions & { limits?: Partial<EngineLimits>; observer?: EngineObserver } = {}) {
  const runner = fakeRunner(options);
  let clock = 0;
  const engine = new Engine({
    runner,
    vocabulary: byteVocabulary,
    limits: { contextLength: 64, maxSequences: 8, maxBatchedTokens: 16, maxWaiting: 4, prefixCache: true, ...options.limits },
    ...(options.observer ? { observer: options.observer } : {}),
    now: () => (clock += 1),
    randomSeed: () => 7n,
    hashSeed: 'test',
  });
  return { runner, engine };
}

async function collect(stream: AsyncIterable<Output>): Promise<Output[]> {
  const pieces: Output[] = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

/** Text and ending per completion. */
async function complete(engine: Engine, request: GenerateRequest) {
  const texts: { text: string; tokens: number[]; finishReason?: string }[] = [];
  for (const piece of await collect(engine.generate(request))) {
    const so = (texts[piece.index] ??= { text: '', tokens: [] });
    so.text += piece.text;
    so.tokens.push(...piece.tokens.map((token) => token.id));
    if (piece.finishReason) so.finishReason = piece.finishReason;
  }
  return texts;
}

/** A promise that the test settles. */
function gate() {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { promise, open: resolve, fail: reject };
}

describe('Engine', () => {
  it('streams the tokens of a request and ends at maxTokens', async () => {
    const { engine } = setup();
    const pieces = await collect(engine.generate({ prompt: bytes('abc'), maxTokens: 5 }));
    expect(pieces.map((piece) => piece.text).join('')).toBe('abcab');
    expect(pieces.at(-1)).toMatchObject({
      finishReason: 'length',
      usage: { promptTokens: 3, completionTokens: 5, cachedTokens: 0 },
    });
    expect(pieces.filter((piece) => piece.finishReason)).toHaveLength(1);
  });

  it('ends at the end of text, counts that token and does not show it; ignoreEos goes on', async () => {
    const next = (tokens: readonly number[]) => (tokens.length === 4 ? endOfText : 120);
    const { engine } = setup({ next });
    expect(await complete(engine, { prompt: bytes('ab'), maxTokens: 5 })).toEqual([
      { text: 'xx', tokens: [120, 120], finishReason: 'stop' },
    ]);
    expect(await complete(engine, { prompt: bytes('ab'), maxTokens: 5, ignoreEos: true })).toEqual([
      { text: 'xxxx', tokens: [120, 120, endOfText, 120, 120], finishReason: 'length' },
    ]);
  });

  it('ends before a stop text and frees the blocks', async () => {
    const { engine } = setup();
    const pieces = await collect(engine.generate({ prompt: bytes('hello END there'), maxTokens: 30, stop: ['END'] }));
    expect(pieces.map((piece) => piece.text).join('')).toBe('hello ');
    expect(pieces.at(-1)).toMatchObject({ finishReason: 'stop', usage: { completionTokens: 9 } });
    expect(engine.checkBlocks().used).toBe(0);
  });

  it('never shows a character in parts', async () => {
    const { engine } = setup();
    const pieces = await collect(engine.generate({ prompt: bytes('🐋é'), maxTokens: 6 }));
    expect(pieces.map((piece) => piece.text)).toEqual(['🐋', 'é']);
  });

  it('computes a long prompt a few layers at a time, and lets steps of others pass between them', async () => {
    const { engine, runner } = setup({ layers: 4, limits: { maxBatchedTokens: 64 } });
    const long = 'a prompt of more tokens than a step takes';
    const order: string[] = [];
    const ask = async (text: string, maxTokens: number) => {
      for await (const { tokens } of engine.generate({ prompt: bytes(text), maxTokens }))
        if (tokens.length > 0) order.push(text[0]!);
    };
    await Promise.all([ask(long, 1), ask('short', 3)]);
    expect(order).toEqual(['s', 's', 's', 'a']);
    expect(runner.steps.map((work) => work.map(({ chunk }) => chunk.count))).toEqual([[5], [1], [1], [41]]);
    expect(engine.stats()).toMatchObject({ steps: 4, usedBlocks: 0 });
  });

  it('drops a long prompt whose client leaves between its layers, and begins the next one', async () => {
    const { engine, runner } = setup({ layers: 50, limits: { maxBatchedTokens: 64 } });
    const controller = new AbortController();
    const gone = collect(engine.generate({ prompt: bytes('x'.repeat(40)), maxTokens: 1 }, { signal: controller.signal }));
    for (let i = 0; i < 5; i += 1) await turn();
    controller.abort(new Error('client gone'));
    await expect(gone).rejects.toThrow('client gone');
    expect(engine.stats()).toMatchObject({ usedBlocks: 0, running: 0 });
    await expect(complete(engine, { prompt: bytes('y'.repeat(40)), maxTokens: 2 })).resolves.toMatchObject([{ text: 'yy' }]);
    expect(runner.steps.map(([work]) => [work!.chunk.sequence.tokens[0], work!.chunk.count])).toEqual([
      [121, 20],
      [121, 20],
      [121, 1],
    ]);
    expect(runner.open).toBe(0);
  });

  it('fails all requests when a slice of a long prompt fails', async () => {
    const { engine, runner } = setup({ limits: { maxBatchedTokens: 64 } });
    runner.begin = () => ({ layersLeft: 3, advance: () => Promise.reject(new Error('device gone')), close: () => {} });
    const both = ['short', 'y'.repeat(40)].map((text) => complete(engine, { prompt: bytes(text), maxTokens: 4 }));
    for (const request of both) await expect(request).rejects.toThrow('device gone');
    expect(engine.checkBlocks()).toMatchObject({ used: 0, cached: 0 });
  });

  it('gives n completions with seeds of their own, the first with that of n = 1', async () => {
    const seeds: bigint[] = [];
    const next = (_: readonly number[], work: { sampling: { seed: bigint } }) => {
      seeds.push(work.sampling.seed);
      return 97;
    };
    const { engine } = setup({ next });
    const texts = await complete(engine, { prompt: bytes('ab'), maxTokens: 1, n: 3, seed: 5 });
    expect(texts.map((text) => text.finishReason)).toEqual(['length', 'length', 'length']);
    await complete(engine, { prompt: bytes('ab'), maxTokens: 1, seed: 5 });
    expect(new Set(seeds.slice(0, 3)).size).toBe(3);
    expect(seeds[3]).toBe(seeds[0]);
    expect(seeds[0]).toBe(5n);
  });

  it('lets the n completions of a prompt share its blocks', async () => {
    const { engine, runner } = setup({ limits: { maxBatchedTokens: 32 } });
    await complete(engine, { prompt: bytes('abcdefgh!'), maxTokens: 1, n: 3 });
    expect(runner.steps[0]!.map((work) => work.chunk.count)).toEqual([9, 1, 1]);
  });

  it('scores the prompt once, whatever the chunks, and without the cache', async () => {
    const { engine } = setup({ limits: { maxBatchedTokens: 3 } });
    await complete(engine, { prompt: bytes('abcdefgh'), maxTokens: 1 });
    const pieces = await collect(engine.generate({ prompt: bytes('abcdefgh'), maxTokens: 0, promptLogprobs: 2 }));
    expect(pieces).toHaveLength(1);
    expect(pieces[0]!.prompt!.map((token) => token.id)).toEqual(bytes('bcdefgh'));
    expect(pieces[0]!.prompt![0]!.top).toHaveLength(2);
    expect(pieces[0]!.usage).toEqual({ promptTokens: 8, completionTokens: 0, cachedTokens: 0 });
  });

  it('joins the pieces that a slow reader has not fetched', async () => {
    const { engine } = setup();
    const stream = engine.generate({ prompt: bytes('abc'), maxTokens: 9, n: 2 });
    await engine.drain();
    const pieces = await collect(stream);
    expect(pieces.map((piece) => [piece.index, piece.text, piece.tokens.length, piece.finishReason])).toEqual([
      [0, 'abcabcabc', 9, 'length'],
      [1, 'abcabcabc', 9, 'length'],
    ]);
  });

  it('gives the same text when blocks run out and sequences are preempted', async () => {
    const roomy = setup({ blocks: 256 });
    const tight = setup({ blocks: 17, limits: { contextLength: 64 } });
    const requests = ['first', 'second one', 'and a third'].map((text) => ({ prompt: bytes(text), maxTokens: 40 }));
    const expected = await Promise.all(requests.map((request) => complete(roomy.engine, request)));
    expect(await Promise.all(requests.map((request) => complete(tight.engine, request)))).toEqual(expected);
    expect(tight.engine.stats().preemptions).toBeGreaterThan(0);
    expect(roomy.engine.stats().preemptions).toBe(0);
    expect(tight.engine.checkBlocks().used).toBe(0);
  });

  it('frees the blocks of an aborted request before the step in flight ends, and the stream throws the reason', async () => {
    const hold = gate();
    const { engine, runner } = setup({ beforeResults: () => hold.promise });
    const controller = new AbortController();
    const stream = engine.generate({ prompt: bytes('abcdefgh'), maxTokens: 8 }, { signal: controller.signal });
    const reading = collect(stream);
    await turn();
    expect(runner.steps).toHaveLength(1);
    expect(engine.stats().usedBlocks).toBe(2);
    controller.abort(new Error('client gone'));
    expect(engine.stats()).toMatchObject({ usedBlocks: 0, running: 0, finished: { abort: 1 } });
    await expect(reading).rejects.toThrow('client gone');
    hold.open();
    await engine.drain();
    expect(runner.steps).toHaveLength(1);
  });

  it('frees the blocks when the reader leaves the loop', async () => {
    const { engine } = setup();
    for await (const piece of engine.generate({ prompt: bytes('abc'), maxTokens: 40, n: 2 })) {
      if (piece.usage.completionTokens > 3) break;
    }
    expect(engine.stats()).toMatchObject({ usedBlocks: 0, running: 0, waiting: 0, finished: { abort: 2 } });
  });

  it('refuses what cannot be served, naming observed and allowed values', () => {
    const { engine } = setup();
    const refusal = (request: GenerateRequest) => {
      try {
        engine.generate(request);
        return 'accepted';
      } catch (error) {
        return `${(error as { code: string }).code}: ${(error as Error).message}`;
      }
    };
    expect(refusal({ prompt: [] })).toMatchInlineSnapshot(
      `"WL_REQUEST_INVALID: the prompt has no tokens; at least one is needed"`,
    );
    expect(refusal({ prompt: [1, 257] })).toMatchInlineSnapshot(
      `"WL_REQUEST_INVALID: the prompt has token 257; the vocabulary has 257"`,
    );
    expect(refusal({ prompt: bytes('a'.repeat(60)), maxTokens: 5 })).toMatchInlineSnapshot(
      `"WL_PROMPT_TOO_LONG: 60 prompt tokens and 5 to generate exceed the context of 64 tokens"`,
    );
    expect(refusal({ prompt: bytes('a'.repeat(64)) })).toMatchInlineSnapshot(
      `"WL_PROMPT_TOO_LONG: 64 prompt tokens and one to generate exceed the context of 64 tokens"`,
    );
  });

  it('refuses with WL_OVERLOADED when the queue is full, and takes requests again when it has moved', async () => {
    const { engine } = setup({ limits: { maxSequences: 1, maxWaiting: 2 } });
    const request = { prompt: bytes('abc'), maxTokens: 2 };
    const accepted = [1, 2].map(() => complete(engine, request));
    expect(() => engine.generate(request)).toThrow(/2 sequences are waiting; at most 2 may/);
    await Promise.all(accepted);
    await expect(complete(engine, request)).resolves.toHaveLength(1);
  });

  it('fails the one request whose probabilities are not finite, and no other', async () => {
    const { engine } = setup({ logprob: (id) => (id === bytes('!')[0] ? Number.NaN : -0.5) });
    const good = complete(engine, { prompt: bytes('abc'), maxTokens: 4 });
    const bad = complete(engine, { prompt: bytes('!bc'), maxTokens: 4, n: 2 });
    await expect(bad).rejects.toMatchObject({ code: 'WL_LOGITS_NOT_FINITE' });
    await expect(good).resolves.toMatchObject([{ text: 'abca' }]);
    expect(engine.stats()).toMatchObject({ usedBlocks: 0, finished: { error: 2, length: 1 } });
  });

  it('fails all requests when a step fails, and refuses new ones with the same error', async () => {
    const failures: string[] = [];
    const { engine } = setup({
      beforeResults: () => Promise.reject(new Error('device gone')),
      observer: { failed: (error) => failures.push(error.message) },
    });
    const both = [1, 2].map(() => complete(engine, { prompt: bytes('abc'), maxTokens: 4 }));
    for (const request of both) await expect(request).rejects.toThrow('device gone');
    expect(() => engine.generate({ prompt: bytes('abc') })).toThrow('device gone');
    expect(failures).toEqual(['device gone']);
    expect(engine.checkBlocks()).toMatchObject({ used: 0, cached: 0 });
  });

  it('drains: finishes what runs, refuses what comes', async () => {
    const { engine } = setup();
    const running = complete(engine, { prompt: bytes('abc'), maxTokens: 6 });
    const drained = engine.drain();
    expect(() => engine.generate({ prompt: bytes('abc') })).toThrow(/takes no new requests/);
    await drained;
    await expect(running).resolves.toMatchObject([{ text: 'abcabc', finishReason: 'length' }]);
  });

  it('closes: ends running requests with WL_DRAINING after the step in flight, then the runner', async () => {
    const hold = gate();
    const { engine, runner } = setup({ beforeResults: () => hold.promise });
    const running = complete(engine, { prompt: bytes('abc'), maxTokens: 6 });
    const outcome = expect(running).rejects.toMatchObject({ code: 'WL_DRAINING' });
    await turn();
    const closed = engine.close();
    await outcome;
    expect(runner.closed).toBe(false);
    hold.open();
    await closed;
    expect(runner.closed).toBe(true);
  });

  it('counts tokens, cache hits and times', async () => {
    const times = { first: 0, next: 0, finished: [] as string[] };
    const { engine } = setup({
      observer: {
        firstToken: () => (times.first += 1),
        nextToken: () => (times.next += 1),
        finished: (reason) => times.finished.push(reason),
      },
    });
    await complete(engine, { prompt: bytes('abcdefgh'), maxTokens: 3 });
    await complete(engine, { prompt: bytes('abcdefgh'), maxTokens: 2 });
    expect(times).toEqual({ first: 2, next: 3, finished: ['length', 'length'] });
    expect(engine.stats()).toMatchObject({
      requests: 2,
      promptTokens: 16,
      generationTokens: 5,
      prefixQueries: 16,
      prefixHits: 4,
      running: 0,
      waiting: 0,
      usedBlocks: 0,
    });
  });
});
