import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildSchedule } from '../build.ts';
import { anyWishes } from '../testing.ts';
import { simulate } from '../timing/simulate.ts';
import { timelineText } from './text.ts';

const even = { forward: 1, backwardInput: 1, backwardWeight: 1 };

it('shows grains where there is room', () => {
  const { spans } = simulate(buildSchedule({ schedule: '1f1b', pipeline: 4, stagesPerRank: 1, grains: 8 }), even);
  expect(`\n${timelineText(spans)}\n`).toMatchInlineSnapshot(`
    "
    rank 0 |F0F1F2F3            B0--F4B1--F5B2--F6B3--F7B4--  B5--  B6--  B7--| 27 %
    rank 1 |  F0F1F2        B0--F3B1--F4B2--F5B3--F6B4--F7B5--  B6--  B7--    | 27 %
    rank 2 |    F0F1    B0--F2B1--F3B2--F4B3--F5B4--F6B5--F7B6--  B7--        | 27 %
    rank 3 |      F0B0--F1B1--F2B2--F3B3--F4B4--F5B5--F6B6--F7B7--            | 27 %
            F forward  B backward; bubble 27.3 %
    "
  `);
});

it('shows later stages of a rank in small letters', () => {
  const { spans } = simulate(buildSchedule({ schedule: 'zbv', pipeline: 3, stagesPerRank: 2, grains: 5 }), even);
  expect(`\n${timelineText(spans)}\n`).toMatchInlineSnapshot(`
    "
    rank 0 |F0F1F2F3F4f0i0w0f1i1w1f2i2w2I0W0f3i3w3I1W1f4i4w4I2W2I3W3I4W4    |  6 %
    rank 1 |  F0F1F2f0F3f1i0w0f2i1w1F4I0W0f3i2w2I1W1f4i3w3I2i4I3W2I4w4W3W4  |  6 %
    rank 2 |    F0f0F1f1F2f2i0w0F3I0W0f3i1w1F4I1W1f4i2w2I2i3I3i4I4W2w3W3w4W4|  6 %
            F forward  I input gradient  W weight gradient; bubble 6.3 %
    "
  `);
});

it('keeps every line within the columns given', () => {
  const cost = fc.record({
    forward: fc.double({ min: 0.5, max: 3, noNaN: true }),
    backwardInput: fc.double({ min: 0.5, max: 3, noNaN: true }),
    backwardWeight: fc.double({ min: 0.5, max: 3, noNaN: true }),
  });
  fc.assert(
    fc.property(anyWishes, cost, fc.integer({ min: 80, max: 200 }), (wishes, stage, columns) => {
      const lines = timelineText(simulate(buildSchedule(wishes), stage).spans, columns).split('\n');
      expect(lines.length).toBe(wishes.pipeline + 1);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    }),
    { numRuns: 100 },
  );
});

it('keeps a legend of all four kinds within 80 columns', () => {
  const { spans } = simulate(buildSchedule({ schedule: 'dualpipev', pipeline: 2, stagesPerRank: 2, grains: 4 }), even);
  for (const line of timelineText(spans, 80).split('\n')) expect(line.length).toBeLessThanOrEqual(80);
});

it('says so if nothing was computed', () => {
  expect(timelineText([])).toBe('nothing was computed');
});
