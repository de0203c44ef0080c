import { describe, expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { newModelConfig } from '#runtime/model/main.ts';
import { jobDigest } from './job-digest.ts';

type ModelFamily = Parameters<typeof newModelConfig>[0];

const specOf = (family: ModelFamily, more: object = {}): TrainingJobSpec =>
  TrainingJob.definition.spec.parse({
    model: { family, config: { hiddenSize: 32, layers: 1, heads: 2 } },
    data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 512 } } },
    task: { pretrain: { steps: 100, batch: { sequences: 2, length: 32, grains: 2 } } },
    output: { model: 'two' },
    ...more,
  });

function digestOf(family: ModelFamily, { bos, more }: { bos?: number; more?: object } = {}): string {
  const spec = specOf(family, more);
  const ends = { ...(bos === undefined ? {} : { bosTokenId: bos }), eosTokenIds: [0] };
  const config = newModelConfig(
    family,
    { hiddenSize: 32, layers: 1, heads: 2 },
    { vocabularySize: 512, trainingLength: 32, ...ends },
  );
  return jobDigest({ config, tokensKey: 'the key', tokenizerDigest: 'the tokenizer', spec });
}

describe('the digest of a job', () => {
  // Printed by the code of release 0.0.9.
  it.each([
    ['gpt2', undefined, '8e5782c6721494d7cbb7b971acce97833eede888ed0ed77bc139972615753c9e'],
    ['gpt2', 1, 'd893e131cf23169e15508f9e214a7f95b76327d29e52d90a96b3087f65ddda35'],
    ['llama', undefined, 'f70a4b3b9998b552463f4ca730ce2d1555a4875b0d8f1aed615bfc18bb045092'],
    ['llama', 1, '1bcf2c5635c1ff1bea716a8e291501bae76a72298f5169f5f7af6dfb631c4eda'],
  ] as const)('is that of the release before: %s, first token %s', (family, bos, digest) => {
    expect(digestOf(family, bos === undefined ? {} : { bos })).toBe(digest);
  });

  it('differs by family, what its config adds, the task and the precision', () => {
    const digests = [
      digestOf('llama'),
      digestOf('qwen3'),
      digestOf('mistral'),
      digestOf('llama', { more: { precision: 'bf16' } }),
      digestOf('llama', { more: { task: { pretrain: { steps: 101, batch: { sequences: 2, length: 32, grains: 2 } } } } }),
    ];
    expect(new Set(digests).size).toBe(digests.length);
    expect(digestOf('llama', { more: { precision: 'f32' } })).toBe(digests[0]);
  });
});
