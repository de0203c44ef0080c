// What is trained: the model, its fixed tokens, and one side of the comparison, ours.
import { newModelConfig } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import type { Batch } from '#runtime/parallel/main.ts';
import type { Device, Precision } from '#runtime/tensor/main.ts';
import { initialWeights, Trainer } from '#runtime/train/trainer.ts';

export interface GptSetting {
  readonly sequences: number;
  readonly length: number;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly heads: number;
  readonly vocabularySize: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  readonly clipNorm: number;
}

export const setting: GptSetting = {
  sequences: 16,
  length: 256,
  layers: 6,
  hiddenSize: 384,
  heads: 6,
  vocabularySize: 4096,
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
};

/** GPT-2 with 124 million parameters, as llm.c trains it. */
const gpt2: GptSetting = {
  ...setting,
  layers: 12,
  hiddenSize: 768,
  heads: 12,
  vocabularySize: 50_304,
  learningRate: 1e-4,
  beta2: 0.999,
  weightDecay: 0.01,
};

/** What is trained, and in what batches: sequences x length. */
export const trainedModels = {
  '12m-16x256': setting,
  '124m-4x64': { ...gpt2, sequences: 4, length: 64 },
  '124m-1x1024': { ...gpt2, sequences: 1, length: 1024 },
} satisfies Record<string, GptSetting>;

export type TrainedModel = keyof typeof trainedModels;

/** GPT-2, head tied to the embedding, no dropout. */
export function configOf({ hiddenSize, layers, heads, vocabularySize, length }: GptSetting): ModelConfig {
  return newModelConfig('gpt2', { hiddenSize, layers, heads, dropout: 0 }, { vocabularySize, trainingLength: length });
}

/** The batch of every step. */
export function batchOf(of: GptSetting): Batch {
  const { sequences, length } = of;
  const tokens = fixedTokens(of);
  const rows = Array.from({ length: sequences }, (_, row) => [...tokens.subarray(row * (length + 1), (row + 1) * (length + 1))]);
  return {
    inputs: Int32Array.from(rows.flatMap((row) => row.slice(0, -1))),
    targets: Int32Array.from(rows.flatMap((row) => row.slice(1))),
  };
}

/** sequences x (length + 1) random token ids, the same in every run. */
export function fixedTokens({ sequences, length, vocabularySize }: GptSetting): Int32Array {
  let state = 1;
  return Int32Array.from({ length: sequences * (length + 1) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabularySize);
  });
}

export interface Step {
  /** Mean loss before the update. */
  readonly loss: number;
  readonly seconds: number;
  /** Processor time of all threads: on a busy machine it says more than the wall clock. */
  readonly cpuSeconds: number;
}

/** A side of the comparison. Both start from the same weights and take the same steps. */
export interface Trainee {
  step(): Promise<Step>;
}

export interface Ours extends Trainee {
  close(): void;
}

export async function createOurs(device: Device, of: GptSetting, precision: Precision = 'f32'): Promise<Ours> {
  const { sequences, length } = of;
  const config = configOf(of);
  const shape = { sequences, length, grains: 1 };
  const trainer = new Trainer({ config, device, batch: shape, seed: 0, recompute: 'none', precision, optimizer: of });
  // As initial-model.ts writes them.
  await trainer.load(initialWeights(config, 0, device));
  const batch = batchOf(of);
  let count = 0;
  return {
    async step() {
      const [begin, cpuBegin] = [performance.now(), process.cpuUsage()];
      const { loss } = await trainer.step(batch, (count += 1), of.learningRate);
      const { user, system } = process.cpuUsage(cpuBegin);
      return { loss, seconds: (performance.now() - begin) / 1e3, cpuSeconds: (user + system) / 1e6 };
    },
    close: () => trainer[Symbol.dispose](),
  };
}
