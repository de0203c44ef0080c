import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ModelConfig } from './config.ts';
import { folderDigest } from './folder.ts';
import { openHuggingFace } from './huggingface-reader.ts';
import { writeHuggingFace } from './huggingface-writer.ts';
import { parameterSpecs } from './parameters.ts';
import { openSafetensors, writeSafetensors } from './safetensors-file.ts';
import { syntheticWeights, tinyBloom, tinyGemma3, tinyGpt1, tinyGpt2, tinyLlama, tinyMixtral } from './testing.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-model-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function readAll(path: string): Promise<Map<string, { shape: readonly number[]; values: Float32Array }>> {
  const file = await openSafetensors(path);
  const all = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  for (const { name, shape } of file.tensors.values()) all.set(name, { shape, values: await file.read(name) });
  await file.close();
  return all;
}

async function rewrite(path: string, change: (tensors: Map<string, { shape: readonly number[]; values: Float32Array }>) => void) {
  const tensors = await readAll(path);
  change(tensors);
  await writeSafetensors(
    path,
    [...tensors].map(([name, { shape, values }]) => ({ name, shape, values: async () => values })),
    { format: 'pt' },
  );
}

const configs: readonly (readonly [string, ModelConfig])[] = [
  ['gpt2', tinyGpt2],
  ['llama', { ...tinyLlama, tieEmbeddings: false }],
  ['bloom', tinyBloom],
  ['mixtral', tinyMixtral],
  ['gemma3', tinyGemma3],
  ['gpt1', tinyGpt1],
];

it.each(configs)(
  '%s: what is read is what was written, and written again it is byte-identical, single or sharded',
  async (_, config) => {
    const source = syntheticWeights(config);
    const files = [{ name: 'tokenizer.json', content: '{}' }];
    for (const maxShardBytes of [1e9, 8000]) {
      const [first, second] = [join(folder, `first-${maxShardBytes}`), join(folder, `second-${maxShardBytes}`)];
      await writeHuggingFace(source, first, { files, maxShardBytes });
      const read = await openHuggingFace(first);
      for (const { name } of parameterSpecs(config)) expect(await read.read(name), name).toEqual(await source.read(name));
      await writeHuggingFace(read, second, { files: [{ path: join(first, 'tokenizer.json') }], maxShardBytes });
      await read.close();
      expect(await readdir(second)).toEqual(await readdir(first));
      for (const name of await readdir(first)) {
        expect((await readFile(join(second, name))).equals(await readFile(join(first, name))), name).toBe(true);
      }
      expect(await folderDigest(second)).toBe(await folderDigest(first));
    }
  },
);

it('writes gpt2 weights as [in, out] with queries, keys and values beside each other', async () => {
  const source = syntheticWeights(tinyGpt2);
  await writeHuggingFace(source, join(folder, 'm'));
  const tensors = await readAll(join(folder, 'm', 'model.safetensors'));
  const fused = tensors.get('transformer.h.1.attn.c_attn.weight');
  const key = await source.read('blocks.1.attention.key.weight');
  expect(fused?.shape).toEqual([24, 72]);
  expect(fused?.values[5 * 72 + 24 + 7]).toBe(key[7 * 24 + 5]);
});

it('takes gpt2 files without prefix, with masks and with an equal tied head', async () => {
  const source = syntheticWeights(tinyGpt2);
  await writeHuggingFace(source, join(folder, 'm'));
  await rewrite(join(folder, 'm', 'model.safetensors'), (tensors) => {
    for (const [name, tensor] of Array.from(tensors)) {
      tensors.delete(name);
      tensors.set(name.replace('transformer.', ''), tensor);
    }
    tensors.set('lm_head.weight', tensors.get('wte.weight')!);
    for (const layer of [0, 1]) tensors.set(`h.${layer}.attn.bias`, { shape: [1], values: new Float32Array(1) });
  });
  const read = await openHuggingFace(join(folder, 'm'));
  expect(await read.read('embedding.positions')).toEqual(await source.read('embedding.positions'));
  await read.close();
});

it('names what is missing, left over, misshapen or untied', async () => {
  const path = join(folder, 'm', 'model.safetensors');
  const refusal = async (change: Parameters<typeof rewrite>[1]) => {
    await rm(join(folder, 'm'), { recursive: true, force: true });
    await writeHuggingFace(syntheticWeights(tinyLlama), join(folder, 'm'));
    await rewrite(path, change);
    const error = await openHuggingFace(join(folder, 'm')).then(
      () => new Error('accepted'),
      (refused: Error) => refused,
    );
    return error.message.replaceAll(folder, '');
  };
  expect([
    await refusal((tensors) => tensors.delete('model.norm.weight')),
    await refusal((tensors) => tensors.set('model.layers.2.mlp.up_proj.weight', { shape: [1], values: new Float32Array(1) })),
    await refusal((tensors) => tensors.set('model.norm.weight', { shape: [23], values: new Float32Array(23) })),
    await refusal((tensors) => tensors.set('lm_head.weight', { shape: [37, 24], values: new Float32Array(37 * 24) })),
  ]).toMatchInlineSnapshot(`
    [
      "/m: it lacks model.norm.weight",
      "/m: no place in the model is for model.layers.2.mlp.up_proj.weight",
      "/m: model.norm.weight has shape [23], config.json asks for [24]",
      "/m: tie_word_embeddings is true, but lm_head.weight differs from model.embed_tokens.weight",
    ]
  `);
});

it('refuses an index that leads out of the folder, and a folder without weights', async () => {
  await mkdir(join(folder, 'm'));
  await writeFile(join(folder, 'm', 'config.json'), '{"model_type": "llama"}');
  await expect(openHuggingFace(join(folder, 'm'))).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
  await writeFile(join(folder, 'm', 'model.safetensors.index.json'), '{"weight_map": {"a": "../other.safetensors"}}');
  await expect(openHuggingFace(join(folder, 'm'))).rejects.toMatchObject({ code: 'WL_MODEL_INVALID' });
});

it('leaves nothing behind when a file cannot be written, and touches no folder that is filled', async () => {
  const source = syntheticWeights(tinyLlama);
  await expect(
    writeHuggingFace(source, join(folder, 'm'), { files: [{ path: join(folder, 'none.json') }] }),
  ).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
  expect(await readdir(folder)).toEqual([]);
  await mkdir(join(folder, 'm'));
  await writeHuggingFace(source, join(folder, 'm'));
  const before = await folderDigest(join(folder, 'm'));
  await expect(writeHuggingFace(source, join(folder, 'm'))).rejects.toMatchObject({ code: 'WL_FILE_EXISTS' });
  expect(await folderDigest(join(folder, 'm'))).toBe(before);
  await mkdir(join(folder, '.n.tmp'));
  await writeFile(join(folder, '.n.tmp', 'half'), 'left by a kill');
  await writeHuggingFace(source, join(folder, 'n'));
  expect(await folderDigest(join(folder, 'n'))).toBe(before);
  expect((await readdir(folder)).sort()).toEqual(['m', 'n']);
});

it('converts F16 and BF16 to the f32 values they stand for', async () => {
  const { safetensorsHeader } = await import('./safetensors.ts');
  const halves = new Float16Array([1, -2.5, 65504, 5.960464477539063e-8, Infinity]);
  const brains = new Uint16Array([0x3f80, 0xc020, 0x7f80, 0x0001]);
  const header = safetensorsHeader([
    { name: 'a', dtype: 'F16', shape: [5] },
    { name: 'b', dtype: 'BF16', shape: [4] },
    { name: 'c', dtype: 'I64', shape: [0] },
  ]);
  const path = join(folder, 'x.safetensors');
  await writeFile(path, Buffer.concat([header, Buffer.from(halves.buffer), Buffer.from(brains.buffer)]));
  const file = await openSafetensors(path);
  expect([...(await file.read('a'))]).toEqual([1, -2.5, 65504, 5.960464477539063e-8, Infinity]);
  expect([...(await file.read('b'))]).toEqual([1, -2.5, Infinity, 2 ** -133]);
  await expect(file.read('c')).rejects.toMatchObject({ code: 'WL_MODEL_INVALID' });
  await file.close();
});

it('gives the digest that sha256sum over sha256sum gives', async () => {
  await mkdir(join(folder, 'd', 'sub'), { recursive: true });
  await writeFile(join(folder, 'd', 'b.txt'), 'b');
  await writeFile(join(folder, 'd', 'sub', 'a.txt'), 'a');
  await copyFile(join(folder, 'd', 'b.txt'), join(folder, 'd', 'empty'));
  await writeFile(join(folder, 'd', 'empty'), '');
  expect(await folderDigest(join(folder, 'd'))).toMatchInlineSnapshot(
    `"bbcc4820c5637a6d9e0d3259f1be371b8f1e59304a6122e54401e472a94de28f"`,
  );
});

it('bloom: the rows of queries, keys and values take turns head by head', async () => {
  const source = syntheticWeights(tinyBloom);
  await writeHuggingFace(source, join(folder, 'model'));
  const { values } = (await readAll(join(folder, 'model', 'model.safetensors'))).get(
    'transformer.h.1.self_attention.query_key_value.weight',
  )!;
  const own = await Promise.all(['query', 'key', 'value'].map((part) => source.read(`blocks.1.attention.${part}.weight`)));
  const { hiddenSize, heads, headSize } = tinyBloom;
  const run = headSize * hiddenSize;
  for (let head = 0; head < heads; head += 1) {
    for (const [part, wanted] of own.entries()) {
      const at = (3 * head + part) * run;
      expect(values.subarray(at, at + run)).toEqual(wanted.subarray(head * run, (head + 1) * run));
    }
  }
});

it('mixtral: a file with the experts of a layer in two tensors is read, and written one by one', async () => {
  const source = syntheticWeights(tinyMixtral);
  await writeHuggingFace(source, join(folder, 'model'));
  const path = join(folder, 'model', 'model.safetensors');
  const before = await readFile(path);
  const { hiddenSize, intermediateSize, layers, mixture } = tinyMixtral;
  const experts = Array.from({ length: mixture!.experts }, (_, expert) => expert);
  await rewrite(path, (tensors) => {
    for (let layer = 0; layer < layers; layer += 1) {
      const [old, fused] = [`model.layers.${layer}.block_sparse_moe`, `model.layers.${layer}.mlp`];
      const take = (name: string) => {
        const found = tensors.get(name)!;
        tensors.delete(name);
        return found;
      };
      const join = (parts: readonly { readonly values: Float32Array }[]) =>
        Float32Array.from(parts.flatMap(({ values }) => [...values]));
      const both = experts.flatMap((expert) => ['w1', 'w3'].map((part) => take(`${old}.experts.${expert}.${part}.weight`)));
      const down = experts.map((expert) => take(`${old}.experts.${expert}.w2.weight`));
      tensors.set(`${fused}.gate.weight`, take(`${old}.gate.weight`));
      tensors.set(`${fused}.experts.gate_up_proj`, {
        shape: [experts.length, 2 * intermediateSize, hiddenSize],
        values: join(both),
      });
      tensors.set(`${fused}.experts.down_proj`, { shape: [experts.length, hiddenSize, intermediateSize], values: join(down) });
    }
  });
  const read = await openHuggingFace(join(folder, 'model'));
  for (const { name } of parameterSpecs(tinyMixtral)) expect(await read.read(name), name).toEqual(await source.read(name));
  await writeHuggingFace(read, join(folder, 'again'));
  await read.close();
  expect((await readFile(join(folder, 'again', 'model.safetensors'))).equals(before)).toBe(true);
});
