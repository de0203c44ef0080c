import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ModelConfig } from '../config.ts';
import { exportModel } from '../export.ts';
import { writeHuggingFace } from '../huggingface-writer.ts';
import { syntheticWeights, tinyGpt2, tinyLlama } from '../testing.ts';
import type { WeightSource } from '../weight-source.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-gguf-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const tokenizer = {
  model: { type: 'BPE', vocab: { a: 1, b: 2, ab: 3 }, merges: [['a', 'b']] },
  added_tokens: [
    { id: 0, content: '<|endoftext|>', special: true },
    { id: 4, content: '<mark>', special: false },
  ],
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
};

async function exported(source: WeightSource, recipe: 'F32' | 'F16', json: unknown = tokenizer): Promise<Gguf> {
  const from = join(folder, 'm');
  await rm(from, { recursive: true, force: true });
  await writeHuggingFace(source, from, { files: [{ name: 'tokenizer.json', content: JSON.stringify(json) }] });
  const to = join(folder, `${recipe}.gguf`);
  await rm(to, { force: true });
  await exportModel({ from, to, recipe });
  return readGguf(await readFile(to));
}

interface Gguf {
  readonly metadata: Record<string, unknown>;
  readonly tensors: ReadonlyMap<
    string,
    { readonly dims: readonly number[]; readonly type: number; readonly values: readonly number[] }
  >;
  readonly endsAligned: boolean;
}

/** Reads what the format's description says, independently of the writer. */
function readGguf(file: Buffer): Gguf {
  let at = 0;
  const u32 = () => file.readUInt32LE((at += 4) - 4);
  const u64 = () => Number(file.readBigUInt64LE((at += 8) - 8));
  const scalar = (type: number): unknown => {
    if (type === 4) return u32();
    if (type === 5) return file.readInt32LE((at += 4) - 4);
    if (type === 6) return file.readFloatLE((at += 4) - 4);
    if (type === 7) return file[at++] === 1;
    const length = u64();
    return file.toString('utf8', (at += length) - length, at);
  };
  expect(file.toString('latin1', 0, 4)).toBe('GGUF');
  at = 4;
  expect(u32()).toBe(3);
  const [tensorCount, keyCount] = [u64(), u64()];
  const metadata: Record<string, unknown> = {};
  for (let index = 0; index < keyCount; index += 1) {
    const key = String(scalar(8));
    const type = u32();
    if (type !== 9) metadata[key] = scalar(type);
    else {
      const [itemType, length] = [u32(), u64()];
      metadata[key] = Array.from({ length }, () => scalar(itemType));
    }
  }
  const infos = Array.from({ length: tensorCount }, () => {
    const name = String(scalar(8));
    const dims = Array.from({ length: u32() }, () => u64());
    return { name, dims, type: u32(), offset: u64() };
  });
  const data = Math.ceil(at / 32) * 32;
  const tensors = new Map<string, { dims: number[]; type: number; values: number[] }>();
  for (const { name, dims, type, offset } of infos) {
    expect(offset % 32).toBe(0);
    const bytes = new Uint8Array(
      file.subarray(data + offset, data + offset + dims.reduce((size, dim) => size * dim, type === 0 ? 4 : 2)),
    );
    tensors.set(name, {
      dims,
      type,
      values: [...(type === 0 ? new Float32Array(bytes.buffer) : new Float16Array(bytes.buffer))],
    });
  }
  return { metadata, tensors, endsAligned: file.length % 32 === 0 };
}

it('writes a llama with the rows of queries and keys as llama.cpp turns them', async () => {
  const source = syntheticWeights(tinyLlama);
  const { metadata, tensors, endsAligned } = await exported(source, 'F32');
  const scalars = Object.entries(metadata).filter(([, value]) => !Array.isArray(value));
  expect(Object.fromEntries(scalars)).toMatchInlineSnapshot(`
    {
      "general.architecture": "llama",
      "general.file_type": 0,
      "general.name": "m",
      "llama.attention.head_count": 6,
      "llama.attention.head_count_kv": 2,
      "llama.attention.key_length": 4,
      "llama.attention.layer_norm_rms_epsilon": 0.000009999999747378752,
      "llama.attention.value_length": 4,
      "llama.block_count": 2,
      "llama.context_length": 16,
      "llama.embedding_length": 24,
      "llama.feed_forward_length": 40,
      "llama.rope.dimension_count": 4,
      "llama.rope.freq_base": 10000,
      "llama.vocab_size": 37,
      "tokenizer.ggml.add_bos_token": false,
      "tokenizer.ggml.bos_token_id": 0,
      "tokenizer.ggml.eos_token_id": 0,
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "gpt-2",
    }
  `);
  expect(metadata['tokenizer.ggml.merges']).toEqual(['a b']);
  expect((metadata['tokenizer.ggml.tokens'] as string[]).slice(0, 6)).toEqual([
    '<|endoftext|>',
    'a',
    'b',
    'ab',
    '<mark>',
    '[UNUSED5]',
  ]);
  expect((metadata['tokenizer.ggml.token_type'] as number[]).slice(0, 6)).toEqual([3, 1, 1, 1, 4, 5]);
  expect(metadata['tokenizer.ggml.tokens']).toHaveLength(37);
  expect([...tensors].map(([name, { dims, type }]) => `${name} ${dims.join('x')} ${type}`)).toMatchInlineSnapshot(`
    [
      "token_embd.weight 24x37 0",
      "blk.0.attn_norm.weight 24 0",
      "blk.0.attn_q.weight 24x24 0",
      "blk.0.attn_k.weight 24x8 0",
      "blk.0.attn_v.weight 24x8 0",
      "blk.0.attn_output.weight 24x24 0",
      "blk.0.ffn_norm.weight 24 0",
      "blk.0.ffn_gate.weight 24x40 0",
      "blk.0.ffn_up.weight 24x40 0",
      "blk.0.ffn_down.weight 40x24 0",
      "blk.1.attn_norm.weight 24 0",
      "blk.1.attn_q.weight 24x24 0",
      "blk.1.attn_k.weight 24x8 0",
      "blk.1.attn_v.weight 24x8 0",
      "blk.1.attn_output.weight 24x24 0",
      "blk.1.ffn_norm.weight 24 0",
      "blk.1.ffn_gate.weight 24x40 0",
      "blk.1.ffn_up.weight 24x40 0",
      "blk.1.ffn_down.weight 40x24 0",
      "output_norm.weight 24 0",
    ]
  `);
  expect(endsAligned).toBe(true);
  const key = await source.read('blocks.1.attention.key.weight');
  const rows = (values: readonly number[], ...picks: number[]) => picks.flatMap((row) => values.slice(row * 24, row * 24 + 24));
  expect(tensors.get('blk.1.attn_k.weight')?.values).toEqual(rows([...key], 0, 2, 1, 3, 4, 6, 5, 7));
  expect(tensors.get('blk.1.attn_v.weight')?.values).toEqual([...(await source.read('blocks.1.attention.value.weight'))]);
});

it('writes a gpt2 with fused queries, keys and values, and matrices as f16', async () => {
  const source = syntheticWeights(tinyGpt2);
  const { metadata, tensors } = await exported(source, 'F16');
  expect(metadata['gpt2.attention.layer_norm_epsilon']).toBeCloseTo(1e-5, 12);
  expect(metadata['general.file_type']).toBe(1);
  const fused = tensors.get('blk.0.attn_qkv.weight');
  const parts = ['query', 'key', 'value'].map((part) => source.read(`blocks.0.attention.${part}.weight`));
  expect(fused?.dims).toEqual([24, 72]);
  expect(fused?.values).toEqual((await Promise.all(parts)).flatMap((part) => [...new Float16Array(part)]));
  expect(tensors.get('blk.0.attn_qkv.bias')).toMatchObject({ dims: [72], type: 0 });
  expect(tensors.get('position_embd.weight')).toMatchObject({ dims: [24, 16], type: 0 });
  expect(tensors.get('token_embd.weight')).toMatchObject({ dims: [24, 37], type: 1 });
});

it('says what puts a text before others: the chat template and a first special token', async () => {
  const source = syntheticWeights(tinyLlama);
  const plain = await exported(source, 'F32');
  expect([plain.metadata['tokenizer.chat_template'], plain.metadata['tokenizer.ggml.add_bos_token']]).toEqual([undefined, false]);
  await writeFile(join(folder, 'm', 'tokenizer_config.json'), '{"chat_template": "{{ messages }}"}');
  const post = { type: 'Sequence', processors: [{ type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'a' } }] }] };
  await writeFile(join(folder, 'm', 'tokenizer.json'), JSON.stringify({ ...tokenizer, post_processor: post }));
  await exportModel({ from: join(folder, 'm'), to: join(folder, 'chat.gguf'), recipe: 'F32' });
  const { metadata } = readGguf(await readFile(join(folder, 'chat.gguf')));
  expect([metadata['tokenizer.chat_template'], metadata['tokenizer.ggml.add_bos_token']]).toEqual(['{{ messages }}', true]);
});

it('refuses what the format cannot say, and leaves no file behind', async () => {
  const source = syntheticWeights(tinyLlama);
  const large: WeightSource = { ...source, read: async (name) => (await source.read(name)).fill(1e5) };
  const erf: ModelConfig = { ...tinyGpt2, mlp: { kind: 'dense', activation: 'gelu-erf' } };
  const wide = { ...tokenizer, added_tokens: [{ id: 37, content: '<far>', special: true }] };
  const split = { ...tokenizer, pre_tokenizer: { type: 'Whitespace' } };
  await expect(exported(large, 'F16')).rejects.toMatchObject({ code: 'WL_MODEL_INVALID' });
  await expect(exported(syntheticWeights(erf), 'F32')).rejects.toMatchObject({ code: 'WL_MODEL_INVALID' });
  await expect(exported(source, 'F32', wide)).rejects.toMatchObject({ code: 'WL_TOKENIZER_MISMATCH' });
  await expect(exported(source, 'F32', split)).rejects.toMatchObject({ code: 'WL_TOKENIZER_INVALID' });
  await expect(exported(source, 'F32', { model: { type: 'Unigram' } })).rejects.toMatchObject({ code: 'WL_TOKENIZER_INVALID' });
  expect(await readdir(folder)).toEqual(['m']);
  await writeFile(join(folder, 'there.gguf'), '');
  await expect(exportModel({ from: join(folder, 'm'), to: join(folder, 'there.gguf'), recipe: 'F32' })).rejects.toMatchObject({
    code: 'WL_FILE_EXISTS',
  });
});

it('exports a folder with its tokenizer and the same weights', async () => {
  await exported(syntheticWeights(tinyLlama), 'F32');
  await exportModel({ from: join(folder, 'm'), to: join(folder, 'copy'), recipe: 'F32' });
  for (const name of await readdir(join(folder, 'm'))) {
    expect((await readFile(join(folder, 'copy', name))).equals(await readFile(join(folder, 'm', name))), name).toBe(true);
  }
});
