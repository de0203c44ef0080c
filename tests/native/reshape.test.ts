// A training that was saved by ranks of one layout goes on in any other with the same bits: weights, moments and place in the data.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { Checkpointer, shardsOf } from '#runtime/train/snapshot.ts';
import { digestOf, stepAll, testBatch, withRanks } from './ranks.ts';
import type { Setting, TestRank } from './ranks.ts';

const batch = { sequences: 4, length: 16, grains: 4 };
const config = newModelConfig(
  'gpt2',
  { hiddenSize: 32, layers: 4, heads: 8, intermediateSize: 128, dropout: 0.1 },
  { vocabularySize: 131, trainingLength: batch.length },
);
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const setting: Setting = { config, batch, seed: 3, recompute: 'none', optimizer };
const [savedStep, lastStep, learningRate] = [2, 4, 0.01];

const layouts: Record<string, Partial<Parallelism>> = {
  'one rank': {},
  'replicas 2': { dataReplicate: 2 },
  'shards 2, zero 1': { dataShard: 2, zero: 1 },
  'shards 2, zero 2': { dataShard: 2, zero: 2 },
  'shards 4, zero 3': { dataShard: 4, zero: 3 },
  'replicas 2, shards 2': { dataReplicate: 2, dataShard: 2 },
  'tensor 2': { tensor: 2 },
  'tensor 4, sequence parallel': { tensor: 4, sequenceParallel: true },
  'tensor 8': { tensor: 8 },
  'pipeline 2': { pipeline: 2 },
  'pipeline 4': { pipeline: 4 },
  'pipeline 2, all layers on one rank': { pipeline: 2, stageLayers: [0, 4] },
  'shards 2, tensor 2': { dataShard: 2, tensor: 2 },
  'pipeline 2, shards 2, tensor 2': { pipeline: 2, dataShard: 2, tensor: 2 },
};

let root: string;
let unbroken: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-reshape-'));
  unbroken = await withRanks(noParallelism, setting, async (ranks) => {
    await stepTo(ranks, 1, lastStep);
    return await digestOf(ranks);
  });
});
afterAll(() => rm(root, { recursive: true }));

async function stepTo(ranks: readonly TestRank[], from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step += 1) await stepAll(ranks, testBatch(batch, config, step), step, learningRate);
}

function checkpointersOf(ranks: readonly TestRank[], jobDir: string): Checkpointer[] {
  return ranks.map(({ trainer, mesh }) => {
    const onFailed = (error: Error) => {
      throw error;
    };
    const { checkpointExchange: exchange } = mesh;
    const options = { jobDir, keep: 9, configDigest: '', onSaved: () => {}, onFailed, ...(exchange && { exchange }) };
    return new Checkpointer(shardsOf(trainer.execution.pieces), options);
  });
}

const state = { step: savedStep, seed: 3, sequences: savedStep * 4, tokens: savedStep * 64, evaluationsSinceBest: 0 };

it.each(Object.entries(layouts))('saved by %s, while it trains on', async (name, changed) => {
  await withRanks({ ...noParallelism, ...changed }, setting, async (ranks) => {
    await stepTo(ranks, 1, savedStep);
    const checkpointers = checkpointersOf(ranks, join(root, name));
    await Promise.all(checkpointers.map((checkpointer) => checkpointer.save(state)));
    await stepTo(ranks, savedStep + 1, lastStep);
    expect(await Promise.all(checkpointers.map((checkpointer) => checkpointer.finished()))).toEqual(ranks.map(() => undefined));
    expect(await digestOf(ranks)).toBe(unbroken);
  });
});

it.each(Object.entries(layouts))('continued by %s, whichever layout saved it', async (_, changed) => {
  expect((await readdir(root)).sort()).toEqual(Object.keys(layouts).sort());
  await withRanks({ ...noParallelism, ...changed }, setting, async (ranks) => {
    for (const saved of Object.keys(layouts)) {
      const restored = await Promise.all(
        checkpointersOf(ranks, join(root, saved)).map((checkpointer) => checkpointer.restore(() => expect.unreachable())),
      );
      expect(restored).toEqual(ranks.map(() => state));
      for (const { trainer } of ranks) trainer.execution.weightsChanged();
      await stepTo(ranks, savedStep + 1, lastStep);
      expect(await digestOf(ranks), `saved by ${saved}`).toBe(unbroken);
    }
  });
});
