// The job of four grains that the tests of many ranks train: small, with dropout, and with layers, heads and grains that 2 and 4 divide; and how it is watched.
import { expect } from 'vitest';
import { eventually, lossesOf, metricSteps, podsOf, published } from './harness.ts';
import type { Windlass } from './harness.ts';

export const checkpointSteps = 10;

export interface ParallelJob {
  readonly steps: number;
  readonly parallelism?: string;
  readonly hangSeconds?: number;
  /** More of `task.pretrain` and of `spec`, a field each. */
  readonly pretrain?: readonly string[];
  readonly spec?: readonly string[];
}

export function parallelJob(
  name: string,
  { steps, parallelism = '{}', hangSeconds = 60, pretrain = [], spec = [] }: ParallelJob,
): string {
  return `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: ${name} }
spec:
  model: { family: gpt2, config: { hiddenSize: 32, layers: 4, heads: 4, dropout: 0.1 } }
  data: { uri: ./texts, tokenizer: { train: { vocabularySize: 300 } } }
  task:
    pretrain:
      steps: ${steps}
      batch: { sequences: 8, length: 32, grains: 4 }
      optimizer: { learningRate: 3e-3 }
${pretrain.map((field) => `      ${field}\n`).join('')}  parallelism: ${parallelism}
  checkpoint: { everySteps: ${checkpointSteps} }
  faults: { maxRestarts: 10000, hangTimeoutSeconds: ${hangSeconds} }
  output: { model: ${name} }
${spec.map((field) => `  ${field}\n`).join('')}`;
}

/** The newest step of a job. */
export const stepOf = (folder: string, name = 'many') => metricSteps(folder, name).at(-1) ?? 0;

/** Waits for this many ranks of `many` and some steps of theirs beyond `after`; gives the pods then. */
export async function training(folder: string, running: Windlass, ranks: number, after: number) {
  return await eventually(`${ranks} ranks to train beyond step ${after}`, () => {
    if (running.hasEnded()) throw new Error(`the run ended before:\n${running.output()}`);
    const pods = podsOf(folder, 'many');
    return pods.filter(({ rank }) => rank !== undefined).length === ranks && stepOf(folder) > after + 5 && pods;
  });
}

/** The losses of all steps and the published weights of `many` are those of `one`. */
export async function expectTheSame(folder: string): Promise<void> {
  expect(lossesOf(folder, 'many')).toEqual(lossesOf(folder, 'one'));
  expect(await published(folder, 'many')).toEqual(await published(folder, 'one'));
}
