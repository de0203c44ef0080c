// Tokenizers that a job may be given: from a folder, a file of one, or a GGUF file.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeModel, saveGguf } from '#runtime/model/gguf/save-model.ts';
import { u32, u64 } from '#runtime/model/gguf/testing.ts';
import { writeGguf } from '#runtime/model/gguf/writer.ts';
import type { GgufValue } from '#runtime/model/gguf/writer.ts';
import { syntheticWeights, tinyLlama } from '#runtime/model/testing.ts';
import { trainTokenizer } from '#runtime/tokenizer/main.ts';
import { readTokenizer } from './read-tokenizer.ts';

const text = 'Call me Ishmael. Some years ago, never mind how long precisely. '.repeat(20);
const sample = 'Some whales: naïve 鯨 12345\n\n never mind<|endoftext|>';
const trained = await trainTokenizer([text], { vocabularySize: 300 });
const ids = trained.encode(sample);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wl-tokenizer-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('a tokenizer is the same from a folder, its tokenizer.json, a JSON file of another name and a GGUF file', async () => {
  mkdirSync(join(folder, 'whole'));
  for (const path of ['whole/tokenizer.json', 'words.json']) writeFileSync(join(folder, path), trained.toJson());
  writeFileSync(join(folder, 'whole/tokenizer_config.json'), '{"eos_token": "<|endoftext|>"}');
  const config = { ...tinyLlama, layers: 1, vocabularySize: 300 };
  const description = describeModel(config, { name: 'm', tokenizer: JSON.parse(trained.toJson()) });
  await saveGguf(syntheticWeights(config), join(folder, 'm.gguf'), 'F16', description);
  for (const path of ['whole', 'whole/tokenizer.json', 'words.json', 'm.gguf']) {
    const tokenizer = await readTokenizer(join(folder, path));
    expect(tokenizer.encode(sample), path).toEqual(ids);
    expect(tokenizer.vocabularySize, path).toBe(300);
    expect(tokenizer.decode(ids), path).toBe(trained.decode(ids));
  }
});

it('a GGUF file with SentencePiece, or that is none, is refused before anything is learnt with it', async () => {
  const fixture = JSON.parse(readFileSync('tests/fixtures/gguf/sentencepiece.json', 'utf8')) as {
    readonly tokens: string[];
    readonly scores: number[];
    readonly types: number[];
  };
  const path = join(folder, 'pieces.gguf');
  // An array (9) of f32 (6).
  const scores = Buffer.concat([
    u32(9),
    u32(6),
    u64(fixture.scores.length),
    Buffer.from(Float32Array.from(fixture.scores).buffer),
  ]);
  const entries = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.tokens', { type: 'string[]', value: fixture.tokens }],
    ['tokenizer.ggml.scores', { type: 'copy', bytes: scores }],
    ['tokenizer.ggml.token_type', { type: 'i32[]', value: fixture.types }],
  ]);
  await writeGguf(path, entries, []);
  await expect(readTokenizer(path)).rejects.toMatchObject({ code: 'WL_TOKENIZER_INVALID' });
  writeFileSync(path, 'no model at all, but a text');
  await expect(readTokenizer(path)).rejects.toMatchObject({ code: 'WL_GGUF_INVALID' });
  await expect(readTokenizer(join(folder, 'nowhere.gguf'))).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
});
