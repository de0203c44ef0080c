// What is trained: the model, its fixed tokens, and one side of the comparison, ours.
import { newModelConfig, saveHuggingFace } from '#runtime/model/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
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

/** GPT-2 of 12 million parameters, head tied to the embedding, no dropout. */
export const config = newModelConfig(
  'gpt2',
  { hiddenSize: setting.hiddenSize, layers: setting.layers, heads: setting.heads, dropout: 0 },
  { vocabularySize: setting.vocabularySize, trainingLength: setting.length },
);

/** sequences x (length + 1) random token ids, the same in every run. */
export function fixedTokens({ sequences, length, vocabularySize }: GptSetting = setting): Int32Array {
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
  /** Writes the weights as they are now as a Hugging Face folder. */
  save(folder: string): Promise<void>;
  close(): void;
}

export async function createOurs(device: Device): Promise<Ours> {
  const { sequences, length } = setting;
  const shape = { sequences, length, grains: 1 };
  const trainer = new Trainer({ config, device, batch: shape, seed: 0, recompute: 'none', optimizer: setting });
  await trainer.load(initialWeights(config, 0, device));
  const tokens = fixedTokens();
  const rows = Array.from({ length: sequences }, (_, row) => [...tokens.subarray(row * (length + 1), (row + 1) * (length + 1))]);
  const batch = {
    inputs: Int32Array.from(rows.flatMap((row) => row.slice(0, -1))),
    targets: Int32Array.from(rows.flatMap((row) => row.slice(1))),
  };
  let count = 0;
  return {
    async step() {
      const [begin, cpuBegin] = [performance.now(), process.cpuUsage()];
      const { loss } = await trainer.step(batch, (count += 1), setting.learningRate);
      const { user, system } = process.cpuUsage(cpuBegin);
      return { loss, seconds: (performance.now() - begin) / 1e3, cpuSeconds: (user + system) / 1e6 };
    },
    async save(folder) {
      using whole = await trainer.execution.wholeModel();
      await saveHuggingFace(whole!.model, folder);
    },
    close: () => trainer[Symbol.dispose](),
  };
}
