// What rows cost by the times of steps, and what an engine makes of it.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Engine } from './engine.ts';
import { byteVocabulary, fakeRunner } from './fake-runner.ts';
import { RowCost } from './row-cost.ts';

/** A step of one row takes 10 ms here. */
const secondsOf = (rows: number, share: number) => 0.01 * (1 + share * (rows - 1));

function learned(share: number, sizes: readonly number[], steps = 200): RowCost {
  const cost = new RowCost();
  for (let step = 0; step < steps; step += 1) {
    const rows = sizes[step % sizes.length]!;
    cost.observe(rows, secondsOf(rows, share));
  }
  return cost;
}

describe('RowCost', () => {
  it.each([0.05, 0.3, 0.8])('finds from steps of different sizes that a row adds %d of a step of one', (share) => {
    // The first estimate still weighs as much as a few steps.
    expect(Math.abs(learned(share, [1, 1, 7, 3]).share - share)).toBeLessThan(0.1);
    expect(Math.abs(learned(share, [4, 10, 6]).share - share)).toBeLessThan(0.1);
  });

  it('keeps its first estimate while all steps are alike, whatever they take, and comes back to it', () => {
    expect(new RowCost().share).toBe(0.3);
    const [slow, fast] = [learned(2, [1]), learned(0, [1])];
    expect([slow.share, fast.share].map((share) => share.toFixed(9))).toEqual(['0.300000000', '0.300000000']);
    const changed = learned(1, [1, 7]);
    expect(changed.share).toBeGreaterThan(0.8);
    for (let step = 0; step < 500; step += 1) changed.observe(1, 0.01);
    expect(changed.share).toBeCloseTo(0.3, 2);
  });

  it('is hardly moved by one step that was held up, and follows a machine that became another one', () => {
    const cost = learned(0.1, [1, 7, 1, 4]);
    const before = cost.share;
    cost.observe(7, 60);
    expect(Math.abs(cost.share - before)).toBeLessThan(0.1);
    for (let step = 0; step < 300; step += 1) cost.observe(step % 2 === 0 ? 1 : 7, 20 * secondsOf(step % 2 === 0 ? 1 : 7, 0.7));
    expect(cost.share).toBeGreaterThan(0.6);
  });

  it('passes over steps of no time and of many rows', () => {
    const cost = new RowCost();
    cost.observe(7, 0);
    cost.observe(7, Number.NaN);
    cost.observe(65, 1);
    expect(cost.share).toBe(0.3);
  });

  it('stays between 0.02 and 1 whatever steps take', () => {
    const step = fc.tuple(fc.integer({ min: 1, max: 100 }), fc.double({ min: 0, max: 1e6, noNaN: true }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const cost = new RowCost();
        for (const [rows, seconds] of steps) {
          cost.observe(rows, seconds);
          expect(cost.share).toBeGreaterThanOrEqual(0.02);
          expect(cost.share).toBeLessThanOrEqual(1);
        }
      }),
    );
  });
});

describe('an engine that guesses', () => {
  /** What a text of 300 tokens is and takes where a row adds `share` to a step of one. */
  async function run(share: number) {
    let clock = 0;
    const runner = fakeRunner({
      blocks: 200,
      // What followed before follows again, but for every sixth token.
      next: ({ length }) => (length % 6 === 0 ? 97 + ((length * length) % 25) : 97 + (length % 23)),
      beforeResults: (work) => {
        clock += secondsOf(
          work.reduce((rows, { chunk }) => rows + chunk.count + chunk.drafts.length, 0),
          share,
        );
        return new Promise((resolve) => setImmediate(resolve));
      },
    });
    const limits = { contextLength: 400, maxSequences: 4, maxBatchedTokens: 32, maxWaiting: 4, prefixCache: false };
    const engine = new Engine({
      runner,
      vocabulary: byteVocabulary,
      limits: { ...limits, speculativeTokens: 8 },
      now: () => clock,
      randomSeed: () => 1n,
      hashSeed: 'test',
    });
    let text = '';
    const prompt = [...Buffer.from('the sea, the sky, the sun')];
    for await (const piece of engine.generate({ prompt, maxTokens: 300 })) text += piece.text;
    const { steps, draftTokens } = engine.stats();
    await engine.close();
    return { text, steps, draftTokens };
  }

  it('checks more guesses where rows are cheap than where they are dear, and gives the same text', async () => {
    const [cheap, dear] = [await run(0.02), await run(1)];
    expect(cheap.text).toBe(dear.text);
    expect(cheap.draftTokens).toBeGreaterThan(2 * dear.draftTokens);
    expect(cheap.steps).toBeLessThan(dear.steps);
    expect(dear.draftTokens).toBeGreaterThan(0);
  });
});
