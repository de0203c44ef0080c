// The metrics of a run on disk: one JSON object per line in metrics.jsonl, and the same numbers as TensorBoard events.
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { openTensorBoard } from './tensorboard.ts';
import type { TensorBoardWriter } from './tensorboard.ts';

export type MetricValues = Readonly<Record<string, number>>;

export interface MetricsWriter {
  /** Appends one line. Names are TensorBoard tags such as `train/loss`; `step` counts optimizer steps. */
  write(step: number, values: MetricValues): Promise<void>;
  close(): Promise<void>;
}

export interface MetricsOptions {
  readonly folder: string;
  /** Lines of later steps are dropped: a run resumed from a checkpoint writes them again. */
  readonly resumeStep: number;
  readonly now: () => Date;
}

/** Opens the metrics of a job for appending. */
export async function openMetrics({ folder, resumeStep, now }: MetricsOptions): Promise<MetricsWriter> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'metrics.jsonl');
  await dropLaterLines(path, resumeStep);
  const file: FileHandle = await open(path, 'a');
  const board: TensorBoardWriter = await openTensorBoard(join(folder, 'tensorboard'), now().getTime() / 1000);
  return {
    async write(step, values) {
      await file.write(`${JSON.stringify({ step, time: now().toISOString(), ...values })}\n`);
      await board.scalars(step, values);
    },
    async close() {
      await file.close();
      await board.close();
    },
  };
}

async function dropLaterLines(path: string, resumeStep: number): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const lines = text.split('\n').filter((line) => line !== '');
  const kept = lines.filter((line) => stepOf(line) <= resumeStep);
  if (kept.length === lines.length) return;
  await writeFile(`${path}.tmp`, kept.map((line) => `${line}\n`).join(''));
  await rename(`${path}.tmp`, path);
}

/** Step of a metrics line; a line cut off by a kill counts as later than any step. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return typeof step === 'number' ? step : Infinity;
  } catch {
    return Infinity;
  }
}
