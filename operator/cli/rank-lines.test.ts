import { expect, it } from 'vitest';
import { rankLines } from './rank-lines.ts';
import type { RankView } from './rank-lines.ts';

const rank = (number: number, more: Partial<RankView> = {}): RankView => ({
  rank: number,
  pod: `moby-worker-${number}`,
  state: 'running',
  phase: 'stepping',
  step: 120,
  stepMs: 212.4,
  rssBytes: 431e6,
  ...more,
});
const shown = (ranks: RankView[]) => `\n${rankLines(ranks).join('\n')}\n`;

it('has a line per rank, with the collective that it waits in', () => {
  const waitsIn = 'all-reduce, block 3 gradient';
  expect(
    shown([
      rank(0, { step: 119, waitsIn }),
      rank(1, { step: 119, stepMs: 1234, waitsIn }),
      rank(2, { state: 'silent', step: 117 }),
      { rank: 3, pod: 'moby-worker-3', state: 'starting' },
    ]),
  ).toMatchInlineSnapshot(`
    "
    rank  pod            doing     step  time    memory  waits in
    0     moby-worker-0  stepping  119   212 ms  431 MB  all-reduce, block 3 gradient
    1     moby-worker-1  stepping  119   1.2 s   431 MB  all-reduce, block 3 gradient
    2     moby-worker-2  silent    117   212 ms  431 MB
    3     moby-worker-3  starting
    "
  `);
});

it('folds what is beyond eight ranks, and names those that do not run', () => {
  const many = Array.from({ length: 64 }, (_, number) => rank(number));
  expect(rankLines(many).slice(8)).toEqual([expect.stringContaining('moby-worker-7 '), 'ranks 8-63: step 120']);
  const troubled = many.map((view) =>
    view.rank > 59 ? { ...view, state: 'lost' } : view.rank === 9 ? { ...view, step: 118 } : view,
  );
  expect(rankLines(troubled).at(-1)).toBe(
    'ranks 8-63: step 118 to 120; rank 60 is lost; rank 61 is lost; rank 62 is lost; 1 more are not running',
  );
  expect(rankLines(many.slice(0, 9))).toHaveLength(1 + 9);
});

it('says nothing of a rank that is alone', () => {
  expect(rankLines([rank(0)])).toEqual([]);
});

it('fits into 80 columns', () => {
  for (const line of rankLines(
    Array.from({ length: 8 }, (_, number) => rank(number, { step: 1_000_000, phase: 'checkpointing' })),
  ))
    expect(`  ${line}`.length).toBeLessThanOrEqual(80);
});
