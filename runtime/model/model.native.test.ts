import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import {
  crossEntropy,
  emptyCache,
  expectNoLeaks,
  gatherLogprobs,
  liveTensorCount,
  openDevice,
  scope,
  Tape,
  tensor,
} from '#runtime/tensor/main.ts';
import type { Parameter } from '#runtime/tensor/main.ts';
import {
  contiguous,
  createModel,
  dropPlainWeights,
  headWeight,
  hiddenStates,
  loadHuggingFace,
  logits,
  packModel,
  paged,
  parameterSpecs,
  saveHuggingFace,
} from './main.ts';
import type { ForwardOptions, Model, ModelConfig } from './main.ts';
import { tinyBloom, tinyGemma3, tinyGpt1, tinyGpt2, tinyLlama, tinyMixtral } from './testing.ts';

const device = openDevice();
afterAll(() => device.close());

/** Wide initial values: with the usual ones the gradients of such small models drown in rounding. */
const gpt2: ModelConfig = { ...tinyGpt2, initializerRange: 0.3 };
const llama: ModelConfig = { ...tinyLlama, initializerRange: 0.3 };
const withDropout: ModelConfig = { ...gpt2, dropout: 0.25 };
const untied: ModelConfig = { ...llama, tieEmbeddings: false, bias: { qkv: true, output: true, mlp: true } };
const families: readonly (readonly [string, ModelConfig])[] = [
  ['gpt2', gpt2],
  ['gpt2 with dropout', withDropout],
  ['llama', llama],
  ['llama with biases and its own head', untied],
  ['bloom', { ...tinyBloom, initializerRange: 0.3 }],
  ['gemma3', { ...tinyGemma3, initializerRange: 0.3 }],
  ['gpt1', { ...tinyGpt1, initializerRange: 0.3 }],
  ['mixtral', { ...tinyMixtral, initializerRange: 0.3 }],
];

/** With all experts for each token: a choice among them is a step, which has no slope. */
function everyExpert(config: ModelConfig): ModelConfig {
  const { mixture } = config;
  return mixture ? { ...config, mixture: { ...mixture, perToken: mixture.experts } } : config;
}

const [sequences, length] = [3, 11];
const tokens = sequences * length;
const ids = Int32Array.from({ length: tokens }, (_, index) => (index * 17 + 5) % 37);
const targets = Int32Array.from({ length: tokens }, (_, index) => (index % 7 === 3 ? -1 : (index * 11 + 2) % 37));
const counted = targets.filter((target) => target >= 0).length;
const dropout = { seed: 3, step: 4, firstToken: 66, length };

/** Mean loss, summed in double. */
async function lossOf(model: Model): Promise<number> {
  const losses = await scope(() => {
    const hidden = hiddenStates(model, tensor(device, ids, [tokens]), contiguous({ length }), { dropout });
    return crossEntropy(hidden, headWeight(model), tensor(device, targets, [tokens]), { weight: 1 }).read();
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / counted;
}

/** Losses, then gradients of the mean loss, by parameter name. */
async function gradientsOf(model: Model, options: ForwardOptions = {}): Promise<Map<string, Float32Array>> {
  const read = scope(() => {
    const tape = new Tape({ length });
    const losses = tape.record(() => {
      const hidden = hiddenStates(model, tensor(device, ids, [tokens]), contiguous({ length }), { dropout, ...options });
      return crossEntropy(hidden, headWeight(model), tensor(device, targets, [tokens]), { weight: 1 / counted });
    });
    tape.backward(losses);
    const gradients = [...model.parameters].map(([name, parameter]) => [name, parameter.takeGradient()] as const);
    return [['losses', losses] as const, ...gradients].map(async ([name, values]) => {
      const reading = values.read();
      values.dispose();
      return [name, await reading] as const;
    });
  });
  return new Map(await Promise.all(read));
}

/** Loss after moving a parameter by `distance` along `direction`. */
async function lossAlong(model: Model, parameter: Parameter, direction: Float64Array, distance: number): Promise<number> {
  const original = await parameter.read();
  parameter.write(original.map((value, index) => value + distance * (direction[index] ?? 0)));
  const loss = await lossOf(model);
  parameter.write(original);
  return loss;
}

function normalised(values: ArrayLike<number>): Float64Array {
  const doubles = Float64Array.from(values);
  const norm = Math.hypot(...doubles);
  return doubles.map((value) => value / norm);
}

/** Slope of the loss by central differences at two distances, extrapolated (Richardson), so that the error falls with the fourth power. */
async function measuredSlope(model: Model, parameter: Parameter, direction: Float64Array): Promise<number> {
  const slopeOver = async (h: number) =>
    ((await lossAlong(model, parameter, direction, h)) - (await lossAlong(model, parameter, direction, -h))) / (2 * h);
  return (4 * (await slopeOver(5e-3)) - (await slopeOver(1e-2))) / 3;
}

/**
 * The loss is exact to about 1e-7, so a difference over 1e-2 is known to 1e-5 and the extrapolated slope to a few of that. Both the
 * gradient's own direction and a random one are tried, so that neither length nor direction can be wrong.
 */
it.each(families)('%s: the tape gives the slope of the loss along every parameter', async (_, config) => {
  await expectNoLeaks(async () => {
    using model = createModel(everyExpert(config), { seed: 1, device });
    const gradients = await gradientsOf(model);
    expect([...gradients.get('losses')!].reduce((sum, loss) => sum + loss, 0) / counted).toBeCloseTo(await lossOf(model), 6);
    for (const [name, parameter] of model.parameters) {
      const gradient = gradients.get(name)!;
      const random = normalised(Float64Array.from(gradient, (_, index) => Math.sin(1 + index * 1.7) + Math.cos(index * index)));
      for (const direction of [normalised(gradient), random]) {
        const slope = direction.reduce((sum, value, index) => sum + value * gradient[index]!, 0);
        const measured = await measuredSlope(model, parameter, direction);
        const allowed = 1e-4 + 2e-4 * Math.abs(slope);
        expect(Math.abs(measured - slope), `${name}: ${measured} measured, ${slope} from the tape`).toBeLessThan(allowed);
      }
    }
  });
});

it.each(families)('%s: recomputing blocks changes no bit of losses and gradients', async (_, config) => {
  await expectNoLeaks(async () => {
    using model = createModel(config, { seed: 1, device });
    expect(await gradientsOf(model, { recompute: 'block' })).toEqual(await gradientsOf(model));
  });
});

it.each(families)('%s: a forward pass with a tape gives the bits of one without', async (_, config) => {
  using model = createModel(config, { seed: 1, device });
  const recorded = (await gradientsOf(model)).get('losses')!;
  expect([...recorded].reduce((sum, loss) => sum + loss, 0) / counted).toBe(await lossOf(model));
});

it('draws initial values by seed, parameter and element', async () => {
  const read = async (config: ModelConfig, seed: number) => {
    using model = createModel(config, { seed, device });
    const all = [...model.parameters].map(async ([name, parameter]) => [name, await parameter.read()] as const);
    return new Map(await Promise.all(all));
  };
  const first = await read(tinyGpt2, 7);
  expect(await read(tinyGpt2, 7)).toEqual(first);
  const other = await read(tinyGpt2, 8);
  for (const { name, init } of parameterSpecs(tinyGpt2)) {
    const values = first.get(name)!;
    if (init.kind === 'constant') expect(new Set(values), name).toEqual(new Set([init.value]));
    else {
      expect(values, name).not.toEqual(other.get(name));
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const std = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
      const error = (4 * init.std) / Math.sqrt(values.length);
      expect(Math.abs(mean), `mean of ${name}`).toBeLessThan(error);
      expect(Math.abs(std - init.std), `deviation of ${name}`).toBeLessThan(error);
    }
  }
  expect(first.get('blocks.0.attention.query.weight')).not.toEqual(first.get('blocks.1.attention.query.weight'));
});

/** Log-probabilities of the targets through pages of 4 tokens: `chunks` rows of each sequence at a time, the sequences side by side. */
async function pagedLogprobs(model: Model, chunk: number): Promise<number[]> {
  const { layers, kvHeads, headSize } = model.config;
  const pageSize = 4;
  const pagesEach = Math.ceil(length / pageSize);
  const found: number[] = new Array<number>(tokens).fill(0);
  const shape = { type: 'f32', pages: sequences * pagesEach, pageSize, kvHeads, headSize } as const;
  const caches = Array.from({ length: layers }, (_, layer) => emptyCache(device, shape, `layer ${layer}`));
  /** Pages are handed out backwards, so that no sequence lies in order. */
  const pageOf = (sequence: number, index: number) => sequences * pagesEach - 1 - (index * sequences + sequence);
  for (let start = 0; start < length; start += chunk) {
    const count = Math.min(chunk, length - start);
    const rows = Array.from({ length: sequences * count }, (_, row) => ({
      sequence: Math.floor(row / count),
      position: start + (row % count),
    }));
    const integers = (values: readonly number[], shape: readonly number[]) => tensor(device, Int32Array.from(values), shape);
    const logprobs = await scope(() => {
      const source = paged({
        caches,
        positions: Int32Array.from(rows, ({ position }) => position),
        slots: integers(
          rows.map(
            ({ sequence, position }) => pageOf(sequence, Math.floor(position / pageSize)) * pageSize + (position % pageSize),
          ),
          [rows.length],
        ),
        pages: integers(
          Array.from({ length: sequences * pagesEach }, (_, at) => pageOf(Math.floor(at / pagesEach), at % pagesEach)),
          [sequences, pagesEach],
        ),
        sequences: integers(Array.from({ length: sequences }, (_, sequence) => [sequence * count, count, start]).flat(), [
          sequences,
          3,
        ]),
      });
      const at = (values: Int32Array) =>
        integers(
          rows.map(({ sequence, position }) => Math.max(0, values[sequence * length + position]!)),
          [rows.length],
        );
      return gatherLogprobs(logits(model, hiddenStates(model, at(ids), source)), at(targets)).read();
    });
    for (const [row, { sequence, position }] of rows.entries()) found[sequence * length + position] = logprobs[row]!;
  }
  for (const { keys, values } of caches) {
    keys.dispose();
    values.dispose();
  }
  return found;
}

it.each(families)('%s: serving through pages, packed or not, in any chunks, gives the bits of training', async (_, config) => {
  await expectNoLeaks(async () => {
    using model = createModel(config, { seed: 1, device });
    const losses = await scope(() => {
      const tape = new Tape({ length });
      const recorded = tape.record(() => {
        const hidden = hiddenStates(model, tensor(device, ids, [tokens]), contiguous({ length }));
        return crossEntropy(
          hidden,
          headWeight(model),
          tensor(
            device,
            targets.map((target) => Math.max(0, target)),
            [tokens],
          ),
          { weight: 1 },
        );
      });
      const read = recorded.read();
      tape.clear();
      return read;
    });
    const expected = [...losses].map((loss) => 0 - loss);
    expect(await pagedLogprobs(model, length), 'whole').toEqual(expected);
    expect(await pagedLogprobs(model, 3), 'in chunks of 3').toEqual(expected);
    packModel(model);
    expect(await pagedLogprobs(model, length), 'packed').toEqual(expected);
    expect(await pagedLogprobs(model, 1), 'packed, token by token').toEqual(expected);
    const before = liveTensorCount();
    dropPlainWeights(model);
    expect(before - liveTensorCount()).toBeGreaterThanOrEqual(12);
    expect(await pagedLogprobs(model, 3), 'packed only').toEqual(expected);
  });
});

it('drops the packed form of a weight whose values change', async () => {
  await expectNoLeaks(async () => {
    using model = createModel(llama, { seed: 1, device });
    packModel(model);
    const { weight } = model.weights.blocks[0]!.mlp!.up;
    weight.write((await weight.read()).map((value) => 2 * value));
    const changed = await lossOf(model);
    packModel(model);
    expect(await lossOf(model)).toBe(changed);
    using fresh = createModel(llama, { seed: 1, device });
    expect(await lossOf(fresh)).not.toBe(changed);
  });
});

it.each([
  ['gpt2', tinyGpt2],
  ['llama', tinyLlama],
])('%s: a saved model that is loaded and saved again is byte-identical', async (_, config) => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-model-'));
  try {
    await expectNoLeaks(async () => {
      using model = createModel(config, { seed: 5, device });
      await saveHuggingFace(model, join(folder, 'first'));
      using loaded = await loadHuggingFace(join(folder, 'first'), device);
      await saveHuggingFace(loaded, join(folder, 'second'));
      expect(await lossOf(loaded)).toBe(await lossOf(model));
    });
    for (const name of ['config.json', 'generation_config.json', 'model.safetensors']) {
      expect((await readFile(join(folder, 'second', name))).equals(await readFile(join(folder, 'first', name))), name).toBe(true);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
