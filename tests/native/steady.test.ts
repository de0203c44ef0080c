// Two thousand steps take no more memory than a few hundred, and JavaScript never holds up the event loop of a rank.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Probe } from './rank-probe.ts';
import { newFolder, runRank, tinyJob } from './rank.ts';

/** Longest that JavaScript may keep the event loop, in milliseconds. */
const longestTurnMs = 20;

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

it('2,000 steps take at most 2 % more memory than 500, leave no tensor behind, and turns of the event loop below 20 ms', async ({
  annotate,
}) => {
  const folder = await newFolder();
  try {
    const file = join(folder, 'probe.json');
    const spec = tinyJob(folder, {
      steps: 2000,
      task: { evaluation: { everySteps: 50, sequences: 4 } },
      checkpoint: { everySteps: 50 },
    });
    // Garbage that V8 has not collected yet would count as memory in use; the probe has it collected before it looks.
    // V8 doubles the space for young objects, and gives memory back, at times of its own choosing and by more than the limit: not here.
    const flags = [
      '--expose-gc',
      '--no-memory-reducer',
      '--no-flush-bytecode',
      '--min-semi-space-size=16',
      '--max-semi-space-size=16',
      '--import',
      join(import.meta.dirname, 'rank-probe.ts'),
    ];
    const end = await runRank(folder, spec, { PROBE_FILE: file }, flags);
    expect(end.code, end.log).toBe(0);
    const { memory, turnCpuMs, left } = JSON.parse(await readFile(file, 'utf8')) as Probe;

    const around = (from: number, to: number) => memory.filter(({ step }) => step >= from && step <= to);
    const [early, late] = [around(450, 600), around(1850, 2000)];
    expect(Math.min(early.length, late.length)).toBeGreaterThanOrEqual(3);
    const growth = median(late.map(({ rssBytes }) => rssBytes)) / median(early.map(({ rssBytes }) => rssBytes)) - 1;
    await annotate(
      `resident memory ${(100 * growth).toFixed(2)} %; turns p99 ${turnCpuMs.p99.toFixed(1)} ms of CPU, most ${turnCpuMs.max.toFixed(1)} ms`,
    );
    // Less is no fault: V8 and malloc give memory back when they see fit.
    expect(growth).toBeLessThan(0.02);
    expect(median(late.map(({ tensors }) => tensors))).toBe(median(early.map(({ tensors }) => tensors)));
    expect(left).toEqual([]);
    expect(turnCpuMs.p99).toBeLessThan(longestTurnMs);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 600_000);
