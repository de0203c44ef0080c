import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openMetrics } from './metrics.ts';

it('drops the lines after the resumed step and a line that a kill cut off, so that no step appears twice', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-metrics-'));
  const now = () => new Date(0);
  const onTrouble = (error: Error) => {
    throw error;
  };
  try {
    const first = await openMetrics({ folder, resumeStep: 0, now, onTrouble });
    for (const step of [1, 2, 3]) first.write(step, { 'train/loss': step });
    await first.close();
    await appendFile(join(folder, 'metrics.jsonl'), '{"step":4,"tr');
    const second = await openMetrics({ folder, resumeStep: 2, now, onTrouble });
    second.write(3, { 'train/loss': 30 });
    await second.close();
    const lines = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { step: 1, time: '1970-01-01T00:00:00.000Z', 'train/loss': 1 },
      { step: 2, time: '1970-01-01T00:00:00.000Z', 'train/loss': 2 },
      { step: 3, time: '1970-01-01T00:00:00.000Z', 'train/loss': 30 },
    ]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
