// The models of tests/fixtures/parity and what PyTorch computes with them.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openSafetensors } from '#runtime/model/safetensors-file.ts';

export const cases = ['gpt2', 'llama-grouped', 'llama-untied', 'llama3', 'qwen2', 'qwen3', 'mistral', 'mixtral'] as const;

export function folderOf(name: string): string {
  return join(import.meta.dirname, '../fixtures/parity', name);
}

/** What tests/fixtures/generate.py wrote beside a model. */
export interface Expected {
  readonly sequences: number;
  readonly length: number;
  /** Mean loss of the first batch. */
  readonly loss: number;
  /** One per step: sequences of length + 1 token ids each, one after the other. */
  readonly batches: readonly (readonly number[])[];
  readonly losses: readonly number[];
  readonly gradientNorms: readonly number[];
  readonly greedy: readonly { readonly prompt: readonly number[]; readonly completion: readonly number[] }[];
}

export async function readExpected(name: string): Promise<Expected> {
  return JSON.parse(await readFile(join(folderOf(name), 'expected.json'), 'utf8')) as Expected;
}

/** All tensors of a file by name. */
export async function readTensors(path: string): Promise<Map<string, Float32Array>> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, Float32Array>();
    for (const name of file.tensors.keys()) tensors.set(name, await file.read(name));
    return tensors;
  } finally {
    await file.close();
  }
}

/** A batch as a training step takes it: inputs, and the token that follows each. */
export function batchOf({ sequences, length, batches }: Expected, step: number): { inputs: Int32Array; targets: Int32Array } {
  const ids = batches[step] ?? [];
  const rows = Array.from({ length: sequences }, (_, row) => ids.slice(row * (length + 1), (row + 1) * (length + 1)));
  return {
    inputs: Int32Array.from(rows.flatMap((row) => row.slice(0, -1))),
    targets: Int32Array.from(rows.flatMap((row) => row.slice(1))),
  };
}

/** Largest distance between two lists of the same length; NaN anywhere gives NaN. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  return Array.from(a).reduce((most, value, index) => Math.max(most, Math.abs(value - (b[index] ?? NaN))), 0);
}

/** Largest magnitude in a list. */
export function magnitude(values: ArrayLike<number>): number {
  return Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}
