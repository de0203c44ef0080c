// A sequence's tokens and log-probabilities are the same bits whatever happens around it, and those that training computes.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as kernels from '#kernels/binding.ts';
import { contiguous, createModel, headWeight, hiddenStates, packModel } from '#runtime/model/main.ts';
import type { Model, ModelConfig } from '#runtime/model/main.ts';
import type { KeyValueSource } from '#runtime/model/key-values.ts';
import { tinyBloom, tinyGemma3, tinyGpt2, tinyLlama } from '#runtime/model/testing.ts';
import { cacheTypes, crossEntropy, dequantize, openDevice, quantize, scope, tensor } from '#runtime/tensor/main.ts';
import type { CacheType, Tensor } from '#runtime/tensor/main.ts';
import { Engine } from './engine.ts';
import type { Vocabulary } from './generation.ts';
import { ModelRunner } from './model-runner.ts';
import type { GenerateRequest, ScoredToken } from './request.ts';

const vocabularySize = 211;
const contextLength = 96;
/** Wide initial values: with the usual ones the logits of such small models hardly differ. */
const changes = { vocabularySize, contextLength, initializerRange: 0.3 };
const families: readonly (readonly [string, ModelConfig])[] = [
  ['llama with grouped attention', { ...tinyLlama, ...changes }],
  ['gpt2', { ...tinyGpt2, ...changes }],
  ['gemma3 with windows', { ...tinyGemma3, ...changes }],
  ['bloom with linear biases', { ...tinyBloom, ...changes }],
];
const subjects = families.flatMap(([name, config]) => cacheTypes.map((type) => [name, type, config] as const));
const vocabulary: Vocabulary = { size: vocabularySize, tokenBytes: (id) => Uint8Array.of(id), endOfText: new Set() };
const device = openDevice();
afterAll(() => device.close());

interface Shape {
  readonly blocks?: number;
  readonly blockSize?: number;
  readonly maxSequences?: number;
  readonly maxBatchedTokens?: number;
  readonly prefixCache?: boolean;
  readonly speculativeTokens?: number;
  readonly cacheType?: CacheType;
  /** Seconds between two looks at the clock: where they are long, long prompts are computed one layer at a time. */
  readonly seconds?: number;
}

interface Scored {
  readonly tokens: readonly ScoredToken[];
  readonly prompt: readonly ScoredToken[];
  readonly cached: number;
}

/** Runs requests through a new engine, all at once or one after the other. */
async function run(model: Model, requests: readonly GenerateRequest[], shape: Shape = {}, inTurn = false) {
  const { blocks = 200, blockSize = 16, maxSequences = 16, maxBatchedTokens = 512 } = shape;
  const { prefixCache = false, speculativeTokens = 0, cacheType, seconds = 0 } = shape;
  let clock = 0;
  const engine = new Engine({
    runner: new ModelRunner(model, { blocks, blockSize, cacheType }),
    vocabulary,
    limits: { contextLength, maxSequences, maxBatchedTokens, maxWaiting: 1000, prefixCache, speculativeTokens },
    now: () => (clock += seconds),
    randomSeed: () => 0n,
    hashSeed: 'test',
  });
  const results: Scored[] = [];
  const collect = async (request: GenerateRequest, index: number) => {
    const rows: ScoredToken[][] = [];
    const prompt: ScoredToken[] = [];
    let cached = 0;
    for await (const piece of engine.generate(request)) {
      (rows[piece.index] ??= []).push(...piece.tokens);
      prompt.push(...(piece.prompt ?? []));
      cached = piece.usage.cachedTokens;
    }
    results[index] = { tokens: rows.flat(), prompt, cached };
  };
  if (inTurn) for (const [index, request] of requests.entries()) await collect(request, index);
  else await Promise.all(requests.map(collect));
  const stats = engine.stats();
  expect(engine.checkBlocks().used).toBe(0);
  await engine.close();
  return { results, stats, outputs: results.map(({ tokens, prompt }) => ({ tokens, prompt })) };
}

/** Rules of every kind; the stop tokens are held back to the end. */
function rulesOf(i: number, maxTokens: number): Partial<GenerateRequest> {
  return {
    ...(i % 4 === 1 ? { presencePenalty: 1.5, frequencyPenalty: 0.5 } : {}),
    ...(i % 6 === 2 ? { repetitionPenalty: 1.8 } : {}),
    ...(i % 5 === 3
      ? {
          logitBias: new Map([
            [i, 4],
            [7, -100],
          ]),
        }
      : {}),
    ...(i % 8 === 4 ? { stopTokens: Array.from({ length: 100 }, (_, id) => 2 * id), minTokens: maxTokens } : {}),
  };
}
const isRuled = (request: GenerateRequest) =>
  (request.presencePenalty ?? request.repetitionPenalty ?? request.logitBias ?? request.minTokens) !== undefined;

/** Sixteen requests of all kinds; those of one `group` begin with the same 40 tokens. */
const requests: readonly GenerateRequest[] = Array.from({ length: 16 }, (_, i) => ({
  prompt: Array.from(
    { length: 1 + ((i * 7) % 50) },
    (_, position) => (position * 31 + (position < 40 ? i % 3 : i) * 17 + 5) % vocabularySize,
  ),
  maxTokens: 5 + ((i * 5) % 40),
  temperature: [0, 1, 0.7, 1.5][i % 4]!,
  topK: i % 5 === 0 ? 20 : 0,
  topP: i % 3 === 0 ? 0.9 : 1,
  minP: i % 7 === 0 ? 0.05 : 0,
  seed: 1000 + i,
  logprobs: 3,
  ...rulesOf(i, 5 + ((i * 5) % 40)),
}));

/** Requests whose answers repeat themselves: little is likely but what stood there before. */
const repetitive: readonly GenerateRequest[] = [0, 1, 2, 3].map((i) => ({
  prompt: Array.from({ length: 30 }, (_, position) => 3 * i + (position % (3 + i))),
  maxTokens: 50,
  temperature: i % 2,
  seed: i,
  logprobs: 2,
  logitBias: new Map(Array.from({ length: 5 }, (_, id) => [3 * i + id, 30])),
  ...(i === 3 ? { frequencyPenalty: 0.5, repetitionPenalty: 1.1 } : {}),
}));

describe.each(subjects)('%s, with a cache of %s', (_name, cacheType, config) => {
  let model: Model;
  let alone: Awaited<ReturnType<typeof run>>;
  beforeAll(async () => {
    model = createModel(config, { seed: 7, device });
    alone = await run(model, requests, { cacheType }, true);
  });
  afterAll(() => model.dispose());

  it('draws varied tokens with finite log-probabilities', () => {
    const drawn = alone.results.flatMap(({ tokens }) => tokens);
    expect(drawn).toHaveLength(requests.reduce((total, request) => total + request.maxTokens!, 0));
    expect(new Set(drawn.map(({ id }) => id)).size).toBeGreaterThan(50);
    expect(drawn.every(({ logprob }) => Number.isFinite(logprob) && logprob <= 0)).toBe(true);
  });

  it('alone or in a batch of 16', async () => {
    expect((await run(model, requests, { cacheType })).outputs).toEqual(alone.outputs);
  });

  it.each([1, 7, 512])('in chunks of %d tokens', async (maxBatchedTokens) => {
    expect((await run(model, requests, { cacheType, maxBatchedTokens })).outputs).toEqual(alone.outputs);
  });

  it('long prompts one layer at a time, with steps of others in between', async () => {
    for (const shape of [{}, { maxBatchedTokens: 20, prefixCache: true }, { blocks: 26, blockSize: 4 }]) {
      expect((await run(model, requests, { ...shape, cacheType, seconds: 1 })).outputs).toEqual(alone.outputs);
    }
  });

  it.each([1, 5, 32])('with cache blocks of %d tokens', async (blockSize) => {
    const blocks = Math.ceil((contextLength * 16) / blockSize);
    expect((await run(model, requests, { cacheType, blockSize, blocks })).outputs).toEqual(alone.outputs);
  });

  it('with a prefix hit, from earlier requests or from the same step', async () => {
    const shape = { cacheType, prefixCache: true, blockSize: 4, blocks: 400 };
    const twice = await run(model, [...requests, ...requests], shape);
    expect(twice.outputs).toEqual([...alone.outputs, ...alone.outputs]);
    expect(twice.stats.prefixHits).toBeGreaterThan(300);
    const later = await run(model, [...requests, ...requests], shape, true);
    expect(later.outputs).toEqual([...alone.outputs, ...alone.outputs]);
    expect(
      later.results.slice(16).every(({ cached }, i) => cached === Math.floor((requests[i]!.prompt.length - 1) / 4) * 4),
    ).toBe(true);
  });

  it.each([true, false])('preempted again and again, with a prefix cache: %s', async (prefixCache) => {
    const preempted = await run(model, requests, { cacheType, blocks: 26, blockSize: 4, prefixCache });
    expect(preempted.outputs).toEqual(alone.outputs);
    expect(preempted.stats.preemptions).toBeGreaterThan(5);
  });

  it('with guesses from their own text, alone or together, right or wrong, in the cache or preempted', async () => {
    for (const [shape, inTurn] of [
      [{}, true],
      [{ maxSequences: 2 }, false],
      [{ maxSequences: 2, maxBatchedTokens: 9, blocks: 26, blockSize: 4, prefixCache: true }, false],
    ] as const) {
      const guessed = await run(model, [...repetitive, ...requests], { ...shape, cacheType, speculativeTokens: 6 }, inTurn);
      const plain = await run(model, [...repetitive, ...requests], { cacheType }, true);
      expect(guessed.outputs).toEqual(plain.outputs);
      expect(guessed.stats.acceptedTokens).toBeGreaterThan(20);
      expect(guessed.stats.draftTokens).toBeGreaterThan(guessed.stats.acceptedTokens);
      if (inTurn) expect(guessed.stats.steps).toBeLessThan(plain.stats.steps - 20);
    }
  });

  it('with the completions of one prompt, each with a seed of its own, however they share its blocks', async () => {
    const several = requests.slice(8, 12).map((request) => ({ ...request, maxTokens: 20, minTokens: 20, n: 3, temperature: 1 }));
    const expected = await run(model, several, { cacheType }, true);
    for (const { tokens } of expected.results) {
      const ids = [0, 20, 40].map((first) =>
        tokens
          .slice(first, first + 20)
          .map(({ id }) => id)
          .join(),
      );
      expect(new Set(ids).size).toBe(3);
    }
    for (const shape of [
      { maxBatchedTokens: 7, prefixCache: true },
      { blocks: 30, blockSize: 4 },
      { prefixCache: true, blockSize: 4 },
    ])
      expect((await run(model, several, { ...shape, cacheType })).outputs).toEqual(expected.outputs);
    const single = await run(
      model,
      several.map((request) => ({ ...request, n: 1 })),
      { cacheType },
    );
    expect(single.results.map(({ tokens }) => tokens)).toEqual(expected.results.map(({ tokens }) => tokens.slice(0, 20)));
  });

  it('reports the most likely tokens first, the greedy token among them', async () => {
    for (const [index, { tokens }] of alone.results.entries()) {
      for (const { id, logprob, top } of tokens) {
        expect(top).toHaveLength(3);
        expect(top.map((entry) => entry.logprob)).toEqual(top.map((entry) => entry.logprob).toSorted((a, b) => b - a));
        if (requests[index]!.temperature === 0 && !isRuled(requests[index]!)) expect({ id, logprob }).toEqual(top[0]);
        const listed = top.find((entry) => entry.id === id);
        if (listed) expect(listed.logprob).toBe(logprob);
      }
    }
  });

  it('keeps to the seed: the same one repeats, another differs, top-k 1 is greedy', async () => {
    const base = { prompt: [1, 2, 3], maxTokens: 24, temperature: 1 };
    const variants = [{ seed: 1 }, { seed: 1 }, { seed: 2 }, { seed: 2 ** 40 + 1 }, { topK: 1, seed: 9 }, { temperature: 0 }];
    const { results } = await run(
      model,
      variants.map((variant) => ({ ...base, ...variant })),
    );
    const ids = results.map(({ tokens }) => tokens.map(({ id }) => id).join());
    expect(ids[1]).toBe(ids[0]);
    expect(new Set([ids[0], ids[2], ids[3]]).size).toBe(3);
    expect(ids[4]).toBe(ids[5]);
  });
});

describe.each(families)('%s', (_name, config) => {
  let model: Model;
  beforeAll(() => {
    model = createModel(config, { seed: 7, device });
  });
  afterAll(() => model.dispose());

  it('the same where long prompts are computed and scored a slice at a time, between the steps of others', async () => {
    const long: GenerateRequest = { ...requests[15]!, prompt: Array.from({ length: 90 }, (_, i) => (i * 13) % 97), maxTokens: 3 };
    const scoring = [long, ...requests].map((request) => ({ ...request, promptLogprobs: 2 }));
    const wanted = await run(model, scoring);
    expect(wanted.results[0]!.prompt).toHaveLength(89);
    expect((await run(model, scoring, { seconds: 1 })).outputs).toEqual(wanted.outputs);
  });

  it('equal to the losses of the training forward pass, prompt and completion, packed or not', async () => {
    const scoring = requests.map((request) => ({ ...request, promptLogprobs: 2 }));
    const before = await run(model, scoring, { maxBatchedTokens: 40 });
    packModel(model);
    const packed = await run(model, scoring);
    expect(packed.outputs).toEqual(before.outputs);
    for (const [index, { tokens, prompt }] of packed.results.entries()) {
      const given = requests[index]!.prompt;
      const all = [...given, ...tokens.map(({ id }) => id)];
      const losses = await trainingLosses(model, all);
      expect(prompt.map(({ id }) => id)).toEqual(given.slice(1));
      expect([...prompt, ...tokens].map(({ logprob }) => logprob)).toEqual(losses.map((loss) => 0 - loss));
    }
  });

  it('changes what the rules of a request ask to be changed, and no log-probability', async () => {
    const base: GenerateRequest = { prompt: [1, 2, 3], maxTokens: 60, temperature: 0, logprobs: 0 };
    const plain = (await run(model, [base])).results[0]!.tokens.map(({ id }) => id);
    const draw = async (rules: Partial<GenerateRequest>) => {
      const { tokens } = (await run(model, [{ ...base, ...rules }])).results[0]!;
      const ids = tokens.map(({ id }) => id);
      const losses = await trainingLosses(model, [...base.prompt, ...ids]);
      expect(tokens.map(({ logprob }) => logprob)).toEqual(losses.slice(2).map((loss) => 0 - loss));
      return ids;
    };
    const first = plain[0]!;
    expect(await draw({ logitBias: new Map([[first, -100]]) })).not.toContain(first);
    expect(await draw({ logitBias: new Map([[first, 100]]) })).toEqual(plain.map(() => first));
    const distinct = new Set(await draw({ frequencyPenalty: 2, presencePenalty: 2 })).size;
    expect(distinct).toBeGreaterThan(new Set(plain).size);
    expect(new Set(await draw({ repetitionPenalty: 100 })).size).toBeGreaterThan(new Set(plain).size);
    expect((await draw({ stopTokens: [first] })).slice(0, 1)).toEqual([]);
    const held = await draw({ stopTokens: [first], minTokens: 10 });
    expect(held.slice(0, 10)).not.toContain(first);
  });
});

it.each([
  ['f16', 'F16'],
  ['bf16', 'BF16'],
  ['q8_0', 'Q8_0'],
] as const)(
  'with a cache of %s: equal to training losses whose keys and values are rounded to it',
  async (cacheType, quantType) => {
    using model = createModel({ ...tinyLlama, ...changes, headSize: 32 }, { seed: 7, device });
    const scoring = requests.map((request) => ({ ...request, maxTokens: 1, minTokens: 0, promptLogprobs: 0 }));
    const { results } = await run(model, scoring, { cacheType, maxBatchedTokens: 40 });
    const round = (x: Tensor) => dequantize(quantize(x, quantType), quantType, x.shape);
    let differing = 0;
    for (const [index, { tokens, prompt }] of results.entries()) {
      const all = [...requests[index]!.prompt, ...tokens.map(({ id }) => id)];
      const exact = await trainingLosses(model, all);
      const losses = await trainingLosses(model, all, (source) => ({
        ...source,
        attend: (layer, q, k, v, options) => source.attend(layer, q, round(k), round(v), options),
      }));
      expect([...prompt, ...tokens].map(({ logprob }) => logprob)).toEqual(losses.map((loss) => 0 - loss));
      differing += losses.filter((loss, i) => loss !== exact[i]).length;
    }
    expect(differing).toBeGreaterThan(0);
  },
);

it('the same with one thread or two, and on every instruction set of this machine', async () => {
  const probe = fileURLToPath(new URL('./invariance-probe.ts', import.meta.url));
  const here = kernels.instructionSets.slice(0, kernels.instructionSets.indexOf(kernels.isa()) + 1);
  const outputs = await Promise.all(
    [{ WL_THREADS: '1' }, { WL_THREADS: '2' }, ...here.map((isa) => ({ WL_ISA: isa }))].map(async (environment) => {
      const { stdout } = await promisify(execFile)(process.execPath, [probe], { env: { ...process.env, ...environment } });
      return JSON.parse(stdout) as number[][][][];
    }),
  );
  for (const ofType of outputs[0]!) expect(ofType.flat()).toHaveLength(160);
  expect(new Set(outputs[0]!.map((ofType) => JSON.stringify(ofType))).size).toBe(cacheTypes.length);
  for (const output of outputs) expect(output).toEqual(outputs[0]);
});

/** Loss of each token but the first, as the trainer computes it: in a batch with another sequence of the same length. */
async function trainingLosses(
  model: Model,
  tokens: readonly number[],
  sourced: (source: KeyValueSource) => KeyValueSource = (source) => source,
): Promise<number[]> {
  const length = tokens.length - 1;
  const other = tokens.map((id) => (id + 1) % vocabularySize);
  const ids = Int32Array.from([...other.slice(0, -1), ...tokens.slice(0, -1)]);
  const targets = Int32Array.from([...other.slice(1), ...tokens.slice(1)]);
  const losses = await scope(() => {
    const hidden = hiddenStates(model, tensor(device, ids, [2 * length]), sourced(contiguous({ length })));
    return crossEntropy(hidden, headWeight(model), tensor(device, targets, [2 * length]), { weight: 1 }).read();
  });
  return Array.from(losses.subarray(length));
}
