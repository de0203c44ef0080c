// The document on pipeline schedules says what the formulas and the checker say.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import {
  bubbleShare,
  buildSchedule,
  formatScheduleCsv,
  parseScheduleCsv,
  withCommunication,
} from '#runtime/parallel/schedule/main.ts';
import type { ScheduleName } from '#runtime/parallel/schedule/main.ts';
import { generateSchedules } from './gen-schedules.ts';

const text = readFileSync(join(resolve(import.meta.dirname, '..'), 'docs/parallelism.md'), 'utf8');

it('the bubbles in the table are those of the formulas', () => {
  const rows = [...text.matchAll(/^\| `(\w+)`(?:, v = (\d))? \|.*?\| ([\d.]+ %) \| ([\d.]+ %) \|/gm)];
  expect(rows.length).toBe(7);
  for (const [, name, stages, small, large] of rows) {
    const schedule = name as ScheduleName;
    const stagesPerRank = Number(stages ?? (schedule === 'zbv' || schedule === 'dualpipev' ? 2 : 1));
    const share = (pipeline: number, grains: number) => {
      const cost = { forward: 1, backwardInput: 1, backwardWeight: 1 };
      return `${(100 * bubbleShare({ schedule, pipeline, stagesPerRank, grains }, cost)!).toFixed(1)} %`;
    };
    expect([name, small, large]).toEqual([name, share(4, 8), share(8, 32)]);
  }
});

it('the example of a file is the schedule that it is named after', () => {
  const [, example = ''] = /```csv\n([\s\S]*?)```/.exec(text) ?? [];
  const built = withCommunication(buildSchedule({ schedule: '1f1b', pipeline: 2, stagesPerRank: 1, grains: 2 }));
  expect(formatScheduleCsv(built)).toBe(example);
  expect(parseScheduleCsv(example, 'example.csv')).toEqual(built);
});

it('every drawing is shown and smaller than 60 KB', () => {
  for (const { path, text: svg } of generateSchedules()) {
    expect(text).toContain(`](${path.replace('docs/', '')})`);
    expect(svg.length).toBeLessThan(60_000);
  }
});
