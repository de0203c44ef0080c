// Under any load, pool and budget each completion is what a loop over one sequence would give, and nothing is left behind.
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Engine } from './engine.ts';
import { byteVocabulary, endOfText, fakeRunner } from './fake-runner.ts';

/** A model: letters by the last three tokens and the length; now and then the end of text. */
function next(tokens: readonly number[]): number {
  const mixed = tokens.slice(-3).reduce((sum, token) => sum * 31 + token, tokens.length * 7);
  return mixed % 23 === 0 ? endOfText : 97 + (mixed % 5);
}

/** The text of one completion, by the plainest of loops. */
function expected(prompt: readonly number[], maxTokens: number, stops: readonly string[]): string {
  const tokens = [...prompt];
  let text = '';
  while (tokens.length < prompt.length + maxTokens) {
    const token = next(tokens);
    tokens.push(token);
    if (token === endOfText) return text;
    text += String.fromCharCode(token);
    const ended = stops.filter((stop) => text.endsWith(stop));
    if (ended.length > 0) return text.slice(0, -Math.max(...ended.map((stop) => stop.length)));
  }
  return text;
}

const letters = fc.array(fc.constantFrom(...'abcde'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(''));
const request = fc.record({
  at: fc.nat(12),
  prompt: fc.array(fc.integer({ min: 97, max: 99 }), { minLength: 1, maxLength: 48 }),
  maxTokens: fc.integer({ min: 1, max: 24 }),
  n: fc.integer({ min: 1, max: 3 }),
  stop: fc.array(letters, { maxLength: 2 }),
  leavesAfter: fc.option(fc.nat(6), { nil: undefined, freq: 3 }),
  salt: fc.constantFrom('', 'other'),
});
const shape = fc.record({
  blocks: fc.integer({ min: 18, max: 50 }),
  blockSize: fc.constantFrom(4, 8),
  maxSequences: fc.integer({ min: 1, max: 6 }),
  maxBatchedTokens: fc.integer({ min: 1, max: 40 }),
  prefixCache: fc.boolean(),
  speculativeTokens: fc.constantFrom(0, 4),
  layers: fc.integer({ min: 1, max: 6 }),
  seconds: fc.constantFrom(0, 1),
});

it('gives every completion its text, ends every stream and frees every block', async () => {
  await fc.assert(
    fc.asyncProperty(
      shape,
      fc.array(request, { minLength: 1, maxLength: 10 }),
      async ({ blocks, blockSize, layers, seconds, ...rest }, requests) => {
        const runner = fakeRunner({ blocks, blockSize, next, layers });
        let clock = 0;
        const engine = new Engine({
          runner,
          vocabulary: byteVocabulary,
          limits: { contextLength: 72, maxWaiting: 1000, ...rest },
          // Each slice of a long prompt is one layer where time passes.
          now: () => (clock += seconds),
          randomSeed: () => 0n,
          hashSeed: 'test',
        });
        await Promise.all(
          requests.map(async ({ at, leavesAfter, prompt, maxTokens, n, stop, salt }) => {
            for (let i = 0; i < at; i += 1) await turn();
            const texts = Array.from({ length: n }, () => '');
            const finished = new Set<number>();
            let pieces = 0;
            for await (const piece of engine.generate({ prompt, maxTokens, n, stop, salt })) {
              texts[piece.index]! += piece.text;
              expect(finished.has(piece.index)).toBe(false);
              if (piece.finishReason) finished.add(piece.index);
              if (leavesAfter !== undefined && (pieces += 1) > leavesAfter) break;
            }
            const wanted = expected(prompt, maxTokens, stop);
            for (const [index, text] of texts.entries()) {
              if (finished.has(index)) expect(text).toBe(wanted);
              else expect(wanted.startsWith(text)).toBe(true);
            }
            if (leavesAfter === undefined) expect(finished.size).toBe(n);
            expect(engine.checkBlocks().used).toBe(engine.stats().usedBlocks);
          }),
        );
        expect(engine.checkBlocks().used).toBe(0);
        expect(runner.open).toBe(0);
        const { finished, running, waiting } = engine.stats();
        expect([running, waiting, finished.error]).toEqual([0, 0, 0]);
        expect(finished.stop + finished.length + finished.abort).toBe(requests.reduce((total, { n }) => total + n, 0));
        await engine.close();
      },
    ),
    { numRuns: 150 },
  );
});
