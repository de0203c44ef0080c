// The document on parallelism says of pipeline schedules what the formulas say, and shows every drawing.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { bubbleShare } from '#runtime/parallel/schedule/main.ts';
import type { GeneratedSchedule } from '#runtime/parallel/schedule/main.ts';
import { generateSchedules } from './gen-schedules.ts';

const text = readFileSync(join(resolve(import.meta.dirname, '..'), 'docs/parallelism.md'), 'utf8');

it('the bubbles in the table are those of the formulas', () => {
  const rows = [...text.matchAll(/^\| `(\w+)`(?:, v = (\d))? \|.*?\| ([\d.]+ %) \| ([\d.]+ %) \|/gm)];
  expect(rows.length).toBe(7);
  for (const [, name, stages, small, large] of rows) {
    const schedule = name as GeneratedSchedule;
    const stagesPerRank = Number(stages ?? (schedule === 'zbv' || schedule === 'dualpipev' ? 2 : 1));
    const share = (pipeline: number, grains: number) => {
      const cost = { forward: 1, backwardInput: 1, backwardWeight: 1 };
      return `${(100 * bubbleShare({ schedule, pipeline, stagesPerRank, grains }, cost)!).toFixed(1)} %`;
    };
    expect([name, small, large]).toEqual([name, share(4, 8), share(8, 32)]);
  }
});

it('every drawing is shown and smaller than 60 KB', () => {
  for (const { path, text: svg } of generateSchedules()) {
    expect(text).toContain(`](${path.replace('docs/', '')})`);
    expect(svg.length).toBeLessThan(60_000);
  }
});
