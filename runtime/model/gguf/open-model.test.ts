import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../config.ts';
import { newModelConfig } from '../families/families.ts';
import { openModel } from '../open-model.ts';
import { parameterSpecs } from '../parameters.ts';
import { syntheticWeights, tinyGpt2, tinyLlama } from '../testing.ts';
import { dequantize } from './dequantize.ts';
import { openGguf } from './file.ts';
import { ggufLayout } from './layout.ts';
import { openGgufModel } from './open-model.ts';
import type { RecipeName } from './recipes.ts';
import { describeModel, saveGguf } from './save-model.ts';
import { writeGguf } from './writer.ts';
import type { GgufTensor, GgufValue } from './writer.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-gguf-'));
  file = join(folder, 'm.gguf');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const tokenizer = {
  model: { type: 'BPE', vocab: { a: 1, b: 2, ab: 3 }, merges: [['a', 'b']] },
  added_tokens: [{ id: 0, content: '<|endoftext|>', special: true }],
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
};

async function save(config: ModelConfig, recipe: RecipeName = 'F32'): Promise<void> {
  await saveGguf(syntheticWeights(config), file, recipe, describeModel(config, { name: 'm', tokenizer }));
}

describe('reads what was written', () => {
  const qwen = (family: 'qwen2' | 'qwen3') =>
    newModelConfig(
      family,
      { hiddenSize: 24, layers: 2, heads: 6, kvHeads: 2, intermediateSize: 40 },
      { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
    );
  const untied: ModelConfig = { ...tinyLlama, tieEmbeddings: false };
  it.each([
    ['llama, tied', tinyLlama],
    ['llama, untied', untied],
    ['gpt2', tinyGpt2],
    ['qwen2', qwen('qwen2')],
    ['qwen3', qwen('qwen3')],
  ])('%s: the same configuration and every parameter bit for bit', async (_, config) => {
    await save(config);
    const source = await openGgufModel(file);
    const original = syntheticWeights(config);
    try {
      expect(source.config).toEqual(config);
      for (const { name } of parameterSpecs(config)) expect(await source.read(name), name).toEqual(await original.read(name));
    } finally {
      await source.close();
    }
  });

  it('F16: values and stored rows are the same numbers, rows of queries and keys in our order', async () => {
    await save(tinyLlama, 'F16');
    const source = await openGgufModel(file);
    try {
      for (const { name } of parameterSpecs(tinyLlama)) {
        const { type, rows, bytes } = await source.stored(name);
        const values = await source.read(name);
        const again = new Float32Array(values.length);
        dequantize(type, bytes, again);
        expect([type, again, values.length % rows], name).toEqual([values.length === 24 ? 'F32' : 'F16', values, 0]);
      }
    } finally {
      await source.close();
    }
  });
});

it('finds the one GGUF file of a folder, and refuses to choose between two', async () => {
  await save(tinyLlama);
  const source = await openModel(folder);
  expect([...source.vocabulary!.tokens].slice(0, 4)).toEqual(['<|endoftext|>', 'a', 'b', 'ab']);
  await source.close();
  await writeFile(join(folder, 'n.gguf'), '');
  await expect(openModel(folder)).rejects.toMatchObject({
    code: 'WL_MODEL_INVALID',
    message: expect.stringContaining('name one'),
  });
  await rm(file);
  await expect(openModel(folder)).rejects.toMatchObject({ code: 'WL_GGUF_INVALID' });
  await expect(openModel(file)).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
  await rm(join(folder, 'n.gguf'));
  await expect(openModel(folder)).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
});

/** A file like that of tinyLlama with other metadata or tensors. */
async function saveChanged(change: (metadata: Map<string, GgufValue>, tensors: GgufTensor[]) => void): Promise<void> {
  await save(tinyLlama);
  const whole = await openGguf(file);
  const metadata = new Map<string, GgufValue>();
  for (const [key, entry] of whole.metadata) {
    if (entry.type === 'u32' || entry.type === 'f32' || entry.type === 'bool' || entry.type === 'string')
      metadata.set(key, { type: entry.type, value: entry.value as number });
  }
  metadata.set('tokenizer.ggml.tokens', { type: 'string[]', value: ['a', 'b'] });
  metadata.set('tokenizer.ggml.merges', { type: 'string[]', value: [] });
  const tensors = ggufLayout(tinyLlama, true).map(({ name, shape }): GgufTensor => ({
    name,
    shape,
    type: 'F32',
    values: async () => new Float32Array(shape.reduce((size, dim) => size * dim, 1)),
  }));
  await whole.close();
  change(metadata, tensors);
  await writeGguf(file, metadata, tensors);
}

const set = (key: string, value: GgufValue) => (metadata: Map<string, GgufValue>) => void metadata.set(key, value);
const refusals: readonly (readonly [string, Parameters<typeof saveChanged>[0], string])[] = [
  [
    'another architecture',
    set('general.architecture', { type: 'string', value: 'mamba' }),
    'must be llama or qwen2 or qwen3 or gpt2',
  ],
  ['no architecture', (metadata) => void metadata.delete('general.architecture'), 'general.architecture is absent'],
  ['no width', (metadata) => void metadata.delete('llama.embedding_length'), 'llama.embedding_length is absent'],
  ['0 layers', set('llama.block_count', { type: 'u32', value: 0 }), 'llama.block_count is 0'],
  [
    'more layers than a list has room for',
    set('llama.block_count', { type: 'u32', value: 2 ** 31 - 1 }),
    'llama.block_count is 2147483647 but must be a whole number from 1 to 4096',
  ],
  [
    'a list of widths',
    set('llama.feed_forward_length', { type: 'i32[]', value: [1, 2] }),
    'a list of 2 but must be a single value',
  ],
  ['heads that do not divide', set('llama.attention.head_count_kv', { type: 'u32', value: 5 }), 'do not divide'],
  [
    'scaled rotary positions',
    set('llama.rope.scaling.type', { type: 'string', value: 'yarn' }),
    'llama.rope.scaling.type is "yarn"',
  ],
  ['experts', set('llama.expert_count', { type: 'u32', value: 8 }), 'llama.expert_count is 8'],
  ['types of other tokens', set('tokenizer.ggml.token_type', { type: 'i32[]', value: [1, 1, 1] }), '3 items, there are 2 tokens'],
  ['a missing tensor', (_, tensors) => void tensors.splice(3, 1), 'it lacks blk.0.attn_k.weight'],
  [
    'a tensor too many',
    (_, tensors) =>
      void tensors.push({ name: 'rope_freqs.weight', shape: [2], type: 'F32', values: async () => new Float32Array(2) }),
    'no place in the model is for rope_freqs.weight',
  ],
  [
    'a misshapen tensor',
    (_, tensors) => void tensors.splice(1, 1, { ...tensors[1]!, shape: [12], values: async () => new Float32Array(12) }),
    'blk.0.attn_norm.weight has shape [12], its metadata asks for [24]',
  ],
];

describe('refuses by name', () => {
  it.each(refusals)('%s', async (_, change, reason) => {
    await saveChanged(change);
    await expect(openGgufModel(file)).rejects.toMatchObject({
      code: reason.includes('items') ? 'WL_TOKENIZER_INVALID' : 'WL_MODEL_INVALID',
      message: expect.stringContaining(reason),
    });
  });

  it('a file that becomes shorter while it is read', async () => {
    await save(tinyLlama);
    const source = await openGgufModel(file);
    await truncate(file, 4096);
    await expect(source.read('finalNorm.weight')).rejects.toMatchObject({ code: 'WL_GGUF_INVALID' });
    await source.close();
  });
});
