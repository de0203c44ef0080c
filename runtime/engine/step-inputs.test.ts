// The rows of a step are laid out so that every token, position, slot and draw stands where the forward pass expects it.
import { describe, expect, it } from 'vitest';
import type { Work } from './runner.ts';
import { createSequence } from './sequence.ts';
import { layOutSampling, layOutStep } from './step-inputs.ts';

const sampling = { temperature: 0.5, topK: 3, topP: 0.9, minP: 0.1, seed: 0xfedc_ba98_7654_3210n };

function work(tokens: number[], blocks: number[], start: number, count: number, extra: Partial<Work> = {}): Work {
  const sequence = createSequence({ id: 1, prompt: tokens, maxTokens: 4 });
  sequence.blocks.push(...blocks);
  const chunk = { sequence, start, count, last: start + count === tokens.length, drafts: [] };
  return { chunk, sampling, topLogprobs: 0, draws: true, ...extra };
}

describe('layOutStep', () => {
  it('puts the rows of all chunks one after the other, with slots from each block table', () => {
    const inputs = layOutStep([work([10, 11, 12, 13, 14, 15], [7, 2], 3, 3), work([20, 21], [5], 0, 2)], 4);
    expect(inputs).toEqual({
      rows: 5,
      ids: Int32Array.of(13, 14, 15, 20, 21),
      positions: Int32Array.of(3, 4, 5, 0, 1),
      slots: Int32Array.of(31, 8, 9, 20, 21),
      pages: Int32Array.of(7, 2, 5, 0),
      pagesWidth: 2,
      sequences: Int32Array.of(0, 3, 3, 3, 2, 0),
      draws: [
        { item: 0, row: 2, assumed: 0 },
        { item: 1, row: 4, assumed: 0 },
      ],
      scores: [],
    });
  });

  it('draws only from chunks that end with the last known token and want a draw', () => {
    const inputs = layOutStep([work([1, 2, 3], [0], 0, 2), work([1, 2], [1], 0, 2, { draws: false }), work([4], [2], 0, 1)], 4);
    expect(inputs.draws).toEqual([{ item: 2, row: 4, assumed: 0 }]);
  });

  it('lays drafts out after the known tokens, and draws after each of them', () => {
    const { chunk, ...rest } = work([1, 2, 3], [4, 6], 2, 1);
    const inputs = layOutStep([work([9], [1], 0, 1), { ...rest, chunk: { ...chunk, drafts: [7, 8] } }], 4);
    expect(inputs).toMatchObject({
      rows: 4,
      ids: Int32Array.of(9, 3, 7, 8),
      positions: Int32Array.of(0, 2, 3, 4),
      slots: Int32Array.of(4, 18, 19, 24),
      sequences: Int32Array.of(0, 1, 0, 1, 3, 2),
      draws: [
        { item: 0, row: 0, assumed: 0 },
        { item: 1, row: 1, assumed: 0 },
        { item: 1, row: 2, assumed: 1 },
        { item: 1, row: 3, assumed: 2 },
      ],
    });
  });

  it('scores each prompt token from the row before it, and nothing behind the prompt', () => {
    const inputs = layOutStep([work([1, 2, 3, 4], [0], 1, 3, { promptLogprobs: 2 }), work([9], [1], 0, 1)], 4);
    expect(inputs.scores).toEqual([
      { item: 0, row: 0, id: 3 },
      { item: 0, row: 1, id: 4 },
    ]);
  });
});

describe('layOutSampling', () => {
  it('keys each draw by both words of the seed and the position of the token to come', () => {
    const columns = layOutSampling(
      [work([1, 2, 3], [0], 0, 3)],
      [
        { item: 0, row: 2, assumed: 0 },
        { item: 0, row: 3, assumed: 1 },
      ],
    );
    expect(columns.seeds).toEqual(Int32Array.of(0x7654_3210, 0xfedc_ba98 | 0, 0x7654_3210, 0xfedc_ba98 | 0));
    expect(columns.positions).toEqual(Int32Array.of(3, 4));
    expect(columns.temperature).toEqual(Float32Array.of(0.5, 0.5));
  });
});
