// The integer inputs of a step: which token stands in which row, where its key and value go, which rows draw. Pure.
import type { Sampling } from './request.ts';
import type { Work } from './runner.ts';

export interface StepInputs {
  /** Rows of the step: the tokens of all chunks, one after the other. */
  readonly rows: number;
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  /** page * blockSize + offset, for each row. */
  readonly slots: Int32Array;
  /** [sequences, width]: the blocks of each sequence, padded with block 0. */
  readonly pages: Int32Array;
  readonly pagesWidth: number;
  /** [sequences, 3]: first row, number of rows, position of the first row. */
  readonly sequences: Int32Array;
  /** The work items that draw, in order, with the row whose logits they draw from; drafts draw after the chunk, one by one. */
  readonly draws: readonly Draw[];
  /** The prompt tokens to be scored: the row whose logits say how likely `id` was. */
  readonly scores: readonly { readonly item: number; readonly row: number; readonly id: number }[];
}

export interface Draw {
  readonly item: number;
  readonly row: number;
  /** How many drafts stand before the token that is drawn. */
  readonly assumed: number;
}

/** Lays out the chunks of a step. Each sequence must hold blocks for all rows of its chunk. */
export function layOutStep(work: readonly Work[], blockSize: number): StepInputs {
  const rows = work.reduce((total, { chunk }) => total + chunk.count + chunk.drafts.length, 0);
  const pagesWidth = Math.max(...work.map(({ chunk }) => chunk.sequence.blocks.length));
  const ids = new Int32Array(rows);
  const positions = new Int32Array(rows);
  const slots = new Int32Array(rows);
  const pages = new Int32Array(work.length * pagesWidth);
  const sequences = new Int32Array(work.length * 3);
  const draws: Draw[] = [];
  const scores: { item: number; row: number; id: number }[] = [];
  let row = 0;
  for (const [item, { chunk, draws: drawn, promptLogprobs }] of work.entries()) {
    const { sequence, start, last, drafts } = chunk;
    const count = chunk.count + drafts.length;
    pages.set(sequence.blocks, item * pagesWidth);
    sequences.set([row, count, start], item * 3);
    for (let position = start; position < start + count; position += 1, row += 1) {
      ids[row] = sequence.tokens[position] ?? drafts[position - sequence.tokens.length]!;
      positions[row] = position;
      slots[row] = sequence.blocks[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);
      if (promptLogprobs !== undefined && position + 1 < sequence.promptLength) {
        scores.push({ item, row, id: sequence.tokens[position + 1]! });
      }
    }
    if (!last || !drawn) continue;
    for (let assumed = 0; assumed <= drafts.length; assumed += 1)
      draws.push({ item, row: row - 1 - drafts.length + assumed, assumed });
  }
  return { rows, ids, positions, slots, pages, pagesWidth, sequences, draws, scores };
}

/** How each drawing row is sampled, as columns. */
export interface SamplingColumns {
  readonly temperature: Float32Array;
  readonly topK: Int32Array;
  readonly topP: Float32Array;
  readonly minP: Float32Array;
  /** [rows, 2]: low and high word. */
  readonly seeds: Int32Array;
  /** Position of the token to be drawn. */
  readonly positions: Int32Array;
}

export function layOutSampling(work: readonly Work[], draws: readonly Draw[]): SamplingColumns {
  const seeds = new Int32Array(draws.length * 2);
  for (const [row, { item }] of draws.entries()) {
    const { seed } = work[item]!.sampling;
    seeds[2 * row] = Number(BigInt.asIntN(32, seed));
    seeds[2 * row + 1] = Number(BigInt.asIntN(32, seed >> 32n));
  }
  const of = (value: (sampling: Sampling) => number) => (draw: Draw) => value(work[draw.item]!.sampling);
  return {
    temperature: Float32Array.from(
      draws,
      of(({ temperature }) => temperature),
    ),
    topK: Int32Array.from(
      draws,
      of(({ topK }) => topK),
    ),
    topP: Float32Array.from(
      draws,
      of(({ topP }) => topP),
    ),
    minP: Float32Array.from(
      draws,
      of(({ minP }) => minP),
    ),
    seeds,
    positions: Int32Array.from(draws, (draw) => placeOf(work, draw)),
  };
}

/** The place in its sequence of the token that is drawn. */
export function placeOf(work: readonly Work[], { item, assumed }: Draw): number {
  const { start, count } = work[item]!.chunk;
  return start + count + assumed;
}
