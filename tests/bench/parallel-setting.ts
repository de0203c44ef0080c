// What the parallel bench trains, and how it is spread: one process with two threads against two processes with one thread each.
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { setting } from './trainee.ts';
import type { GptSetting } from './trainee.ts';

/** Every side computes the same grains, so that all of ours take the same steps to the bit. */
export const grains = 2;
export const processes = 2;

export const models = {
  small: setting,
  large: { ...setting, sequences: 8, layers: 12, hiddenSize: 768, heads: 12, vocabularySize: 50_304 },
} satisfies Record<string, GptSetting>;

export type ModelName = keyof typeof models;

export type SideName = 'one' | 'ddp' | 'zero3';

export interface Side {
  readonly name: SideName;
  readonly title: string;
  readonly parallelism: Parallelism;
  /** Of each process. */
  readonly threads: number;
  /** Share of the speed of one process that must be reached, in percent. */
  readonly goal?: number;
}

/** The first one is what the others are measured against. */
export const sides: readonly Side[] = [
  { name: 'one', title: 'one process', parallelism: noParallelism, threads: processes },
  { name: 'ddp', title: 'DDP', parallelism: { ...noParallelism, dataReplicate: processes }, threads: 1, goal: 92 },
  { name: 'zero3', title: 'ZeRO-3', parallelism: { ...noParallelism, dataShard: processes, zero: 3 }, threads: 1, goal: 85 },
];

/** What our DDP must reach of the speed of PyTorch's. */
export const torchGoal = 1.2;
