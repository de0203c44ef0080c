// Packed weights that processes share: the same bits as their own, used only when whole, and never in the way.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { expectNoLeaks, openDevice, quantTypes, scope, tensor } from '#runtime/tensor/main.ts';
import type { QuantType } from '#runtime/tensor/main.ts';
import type { ModelConfig } from '../config.ts';
import { hiddenStates, logits } from '../forward.ts';
import { BlockEncoder } from '../gguf/block-encoder.ts';
import { contiguous } from '../key-values.ts';
import { createModel, dropPlainWeights, packModel } from '../model.ts';
import type { Model } from '../model.ts';
import { servedModelFrom } from '../served-model.ts';
import { tinyGpt2, tinyLlama, tinyMixtral } from '../testing.ts';
import type { WeightSource } from '../weight-source.ts';
import { identityOf, sharedModelFrom } from './cache.ts';

const device = openDevice();
const encoder = new BlockEncoder();
afterAll(() => {
  encoder.close();
  device.close();
});
let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'windlass-packed-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Random weights; matrices in blocks of `type` if there is one. */
async function sourceOf(config: ModelConfig, type?: QuantType): Promise<WeightSource> {
  const model = createModel({ ...config, initializerRange: 0.2 }, { seed: 3, device });
  const values = new Map<string, Float32Array>();
  for (const [name, parameter] of model.parameters) values.set(name, await parameter.read());
  const shapes = new Map([...model.parameters].map(([name, { shape }]) => [name, shape]));
  model.dispose();
  const read = async (name: string) => values.get(name)!.slice();
  if (type === undefined) return { config, read };
  const isMatrix = (name: string) => shapes.get(name)!.length === 2 && name !== 'embedding.positions';
  return {
    config,
    read,
    typeOf: (name) => (isMatrix(name) ? type : 'F32'),
    async stored(name) {
      return { type, rows: shapes.get(name)![0]!, bytes: await encoder.encode(type, values.get(name)!) };
    },
  };
}

async function logitsOf(model: Model): Promise<Float32Array> {
  return await scope(() => {
    const ids = tensor(device, Int32Array.from([5, 1, 30, 7, 7, 2]), [6]);
    return logits(model, hiddenStates(model, ids, contiguous({ length: 6 }))).read();
  });
}

async function own(source: WeightSource): Promise<Float32Array> {
  const model = await servedModelFrom(source, device);
  packModel(model);
  dropPlainWeights(model);
  const found = await logitsOf(model);
  model.dispose();
  return found;
}

interface Shared {
  readonly values: Float32Array;
  /** What was told on the way. */
  readonly told: readonly string[];
}

async function shared(
  source: WeightSource,
  options: { identity?: string; maxBytes?: number; at?: string } = {},
): Promise<Shared> {
  const told: string[] = [];
  const { identity = 'some weights', maxBytes, at = folder } = options;
  const model = await sharedModelFrom(source, device, {
    folder: at,
    identity,
    maxBytes,
    onTrouble: ({ code, message }) => told.push(`${code} ${message}`),
    onShared: ({ isNew }) => told.push(isNew ? 'new' : 'found'),
  });
  packModel(model);
  dropPlainWeights(model);
  const values = await logitsOf(model);
  model.dispose();
  return { values, told };
}

const onlyFile = async () => {
  const names = await readdir(folder);
  expect(names).toHaveLength(1);
  return join(folder, names[0]!);
};

const block: ModelConfig = {
  ...tinyLlama,
  hiddenSize: 256,
  heads: 4,
  kvHeads: 2,
  headSize: 64,
  intermediateSize: 256,
  vocabularySize: 60,
};
const models: readonly (readonly [string, ModelConfig, QuantType | undefined])[] = [
  ['llama in f32, untied', tinyLlama, undefined],
  ['llama in f32, tied', { ...tinyLlama, tieEmbeddings: true }, undefined],
  ['gpt2 in f32', tinyGpt2, undefined],
  ['mixtral in f32', tinyMixtral, undefined],
  ...Object.keys(quantTypes).map(
    (type) => [`llama in ${type}, tied`, { ...block, tieEmbeddings: true }, type as QuantType] as const,
  ),
  ['llama in Q4_1, untied', block, 'Q4_1'],
];

describe('gives the bits of weights of the process itself', () => {
  it.each(models)('%s', async (_, config, type) => {
    const source = await sourceOf(config, type);
    const before = await own(source);
    const first = await shared(source);
    const second = await shared(source);
    expect([first.told, second.told]).toEqual([['new'], ['found']]);
    expect(Buffer.from(first.values.buffer).equals(Buffer.from(before.buffer))).toBe(true);
    expect(Buffer.from(second.values.buffer).equals(Buffer.from(before.buffer))).toBe(true);
    await expectNoLeaks(async () => void (await shared(source)));
  });
});

describe('does not use a file that', () => {
  const spoil: readonly (readonly [string, (bytes: Buffer) => Buffer, string])[] = [
    ['was cut', (bytes) => bytes.subarray(0, bytes.length - 1), 'bytes, not'],
    ['is empty', (bytes) => bytes.subarray(0, 0), 'it has 0 bytes, not'],
    ['has more at its end', (bytes) => Buffer.concat([bytes, Buffer.alloc(64)]), 'bytes, not'],
    ['has another byte at the beginning of its tensors', (bytes) => flipped(bytes, 4096), 'have the digest'],
    ['has another byte at its end', (bytes) => flipped(bytes, bytes.length - 1), 'have the digest'],
    ['is of zeros, as a crash may leave it', (bytes) => Buffer.alloc(bytes.length), 'its head is none of ours'],
    [
      'lost its tensors only',
      (bytes) => Buffer.concat([bytes.subarray(0, 4096), Buffer.alloc(bytes.length - 4096)]),
      'have the digest',
    ],
    [
      'is of other weights',
      (bytes) => Buffer.from(bytes.toString('latin1').replace(/"key":"./, '"key":"x'), 'latin1'),
      'of other weights',
    ],
  ];
  it.each(spoil)('%s: it is packed anew', async (_, change, reason) => {
    const source = await sourceOf(tinyLlama);
    const { values } = await shared(source);
    const path = await onlyFile();
    const bytes = change(await readFile(path));
    await rm(path);
    await writeFile(path, bytes);
    const again = await shared(source);
    expect(again.told).toEqual([expect.stringMatching(/^WL_MODEL_CORRUPT .*it is packed anew$/), 'new']);
    expect(again.told[0]).toContain(reason);
    expect(again.values).toEqual(values);
    expect((await shared(source)).told).toEqual(['found']);
  });

  const flipped = (bytes: Buffer, at: number) => {
    bytes[at]! ^= 1;
    return bytes;
  };
});

it('packs anew for other weights and for files that were changed, and keeps what was there', async () => {
  const source = await sourceOf(tinyLlama);
  await shared(source, { identity: 'a' });
  expect((await shared(source, { identity: 'b' })).told).toEqual(['new']);
  expect((await shared(source, { identity: 'a' })).told).toEqual(['found']);
  const weights = join(folder, 'model.gguf');
  await writeFile(weights, 'one');
  const before = await identityOf(weights);
  expect(await identityOf(weights)).toBe(before);
  await writeFile(weights, 'two');
  expect(await identityOf(weights)).not.toBe(before);
  const ofFolder = await identityOf(folder);
  await writeFile(join(folder, 'config.json'), '{}');
  expect(await identityOf(folder)).not.toBe(ofFolder);
});

it('keeps the weights to itself, and says why, where the folder has no room, or is none', async () => {
  const source = await sourceOf(tinyLlama);
  const before = await own(source);
  const full = await shared(source, { maxBytes: 1000 });
  expect(full.told).toEqual([expect.stringMatching(/^WL_DISK_FULL packed weights are not shared .*may hold 1000 bytes/)]);
  expect(full.values).toEqual(before);
  await writeFile(join(folder, 'file'), '');
  const none = await shared(source, { at: join(folder, 'file') });
  expect(none.told.at(-1)).toMatch(/^WL_\w+ packed weights are not shared/);
  expect(none.values).toEqual(before);
  expect(await readdir(folder)).toEqual(['file']);
});

it('makes room by removing what was used longest ago, from under nobody', async () => {
  const source = await sourceOf(tinyLlama);
  await shared(source, { identity: 'a' });
  const { size } = await stat(await onlyFile());
  const old = await onlyFile();
  await utimes(old, new Date(1000), new Date(1000));
  const user = await sharedModelFrom(source, device, { folder, identity: 'a', onTrouble: () => {} });
  await utimes(old, new Date(1000), new Date(1000));
  const values = await logitsOf(user);
  await shared(source, { identity: 'b', maxBytes: 2 * size });
  await shared(source, { identity: 'c', maxBytes: 2 * size });
  expect(await readdir(folder)).toHaveLength(2);
  await expect(stat(old)).rejects.toThrow('ENOENT');
  expect(await logitsOf(user)).toEqual(values);
  user.dispose();
});

it('a process that is killed while it writes leaves nothing that is used, and what it leaves is removed', async () => {
  const path = join(folder, 'target.packed');
  const child = spawn(process.execPath, [join(import.meta.dirname, 'kill-probe.ts'), path], { stdio: 'inherit' });
  expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
  const left = await onlyFile();
  expect(left).toMatch(/target\.packed\..*\.part$/);
  expect((await stat(left)).size).toBeGreaterThan(4096);
  const source = await sourceOf(tinyLlama);
  expect((await shared(source)).told).toEqual(['new']);
  expect(await readdir(folder)).toHaveLength(2);
  await utimes(left, new Date(1000), new Date(1000));
  expect((await shared(source, { identity: 'other' })).told).toEqual(['new']);
  expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([]);
});

it('two processes that serve the same weights have one copy of them in memory', async () => {
  const start = () =>
    spawn(process.execPath, [join(import.meta.dirname, 'share-probe.ts'), folder], { stdio: ['pipe', 'pipe', 'inherit'] });
  const children = [start(), start()] as const;
  await Promise.all(children.map((child) => once(child.stdout, 'data')));
  const { size } = await stat(await onlyFile());
  for (const { pid = 0 } of children) {
    const mapped = await mappingsOf(pid);
    // Its tensors; the head is not touched.
    expect(mapped['Rss']).toBeGreaterThan(0.95 * (size - 4096));
    // Dirty is what the system has not written to disk yet.
    expect(mapped['Shared_Clean']! + mapped['Shared_Dirty']!).toBe(mapped['Rss']);
    expect(mapped['Pss']).toBeLessThan(0.6 * mapped['Rss']!);
  }
  await Promise.all(children.map(ended));
});

/** Sums over the mappings of packed weights of a process, in bytes. */
async function mappingsOf(pid: number): Promise<Record<string, number>> {
  const sums: Record<string, number> = {};
  let isOurs = false;
  for (const line of (await readFile(`/proc/${pid}/smaps`, 'utf8')).split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isOurs = line.endsWith('.packed');
    const [, key = '', kilobytes] = /^(\w+): +(\d+) kB$/.exec(line) ?? [];
    if (isOurs && kilobytes !== undefined) sums[key] = (sums[key] ?? 0) + Number(kilobytes) * 1024;
  }
  return sums;
}

async function ended(child: ChildProcess): Promise<void> {
  const end = once(child, 'exit');
  child.stdin?.end();
  expect(await end).toEqual([0, null]);
}
