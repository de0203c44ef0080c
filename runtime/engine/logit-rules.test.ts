// Biases and penalties: what they do to logits, in which order, and that only the tokens before a place count.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LogitRules } from './logit-rules.ts';
import type { GenerateRequest } from './request.ts';

/** The logits after `tokens`, of which the prompt of the request are the first. */
function after(request: GenerateRequest, completion: readonly number[], logits: readonly number[], endings: number[] = []) {
  const changed = Float32Array.from(logits);
  new LogitRules(request, endings).apply(changed, [...request.prompt, ...completion]);
  return [...changed];
}

describe('LogitRules', () => {
  it('adds biases', () => {
    expect(
      after(
        {
          prompt: [0],
          logitBias: new Map([
            [1, -100],
            [2, 0.5],
          ]),
        },
        [],
        [1, 2, 3],
      ),
    ).toEqual([1, -98, 3.5]);
  });

  it('counts generated tokens for presence and frequency, not those of the prompt', () => {
    const request = { prompt: [0, 0, 1], presencePenalty: 0.5, frequencyPenalty: 0.25 };
    expect(after(request, [1, 2, 1], [4, 4, 4, 4])).toEqual([4, 3, 3.25, 4]);
  });

  it('punishes tokens of prompt and completion once: positive logits are divided, negative ones multiplied', () => {
    expect(after({ prompt: [0, 1, 1], repetitionPenalty: 2 }, [1, 2], [4, -4, 1, 8])).toEqual([2, -8, 0.5, 8]);
  });

  it('takes bias first, then repetition, then presence', () => {
    const request = { prompt: [0], logitBias: new Map([[1, 3]]), repetitionPenalty: 2, presencePenalty: 1 };
    expect(after(request, [1], [0, 1])).toEqual([0, 1]);
  });

  it('holds endings back until enough was generated, whatever their bias', () => {
    const request = { prompt: [0], minTokens: 2, logitBias: new Map([[1, 100]]) };
    expect(after(request, [0], [1, 1], [1])).toEqual([1, -Infinity]);
    expect(after(request, [0, 0], [1, 1], [1])).toEqual([1, 101]);
    const rules = new LogitRules({ prompt: [0], minTokens: 2 }, [1]);
    expect([1, 2, 3].map((length) => rules.changes(length))).toEqual([true, true, false]);
    expect(new LogitRules({ prompt: [0], minTokens: 2 }).changes(1)).toBe(false);
  });

  it('gives for known and assumed tokens what it gives once they are known, however often it was asked before', () => {
    const token = fc.nat(7);
    const number = fc.double({ min: -2, max: 2, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(token, { minLength: 1, maxLength: 9 }),
        fc.array(token, { maxLength: 12 }),
        fc.nat(12),
        fc.record({ presencePenalty: number, frequencyPenalty: number, minTokens: fc.nat(9) }),
        fc.double({ min: 0.5, max: 2, noNaN: true }),
        (prompt, completion, cut, penalties, repetitionPenalty) => {
          const request = { prompt, ...penalties, repetitionPenalty };
          const logits = Array.from({ length: 8 }, (_, id) => 3 - id);
          const rules = new LogitRules(request, [7]);
          const known = completion.slice(0, cut);
          for (let length = 0; length <= known.length; length += 1) {
            const changed = Float32Array.from(logits);
            rules.apply(changed, [...prompt, ...known.slice(0, length)], completion.slice(length));
            expect([...changed]).toEqual(after(request, completion, logits, [7]));
          }
        },
      ),
    );
  });
});
