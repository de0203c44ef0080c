// The metrics of a run on disk: one JSON object per line in metrics.jsonl, and the same numbers as TensorBoard events.
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { WindlassError } from '#runtime/api/errors.ts';
import { AppendFile } from './append-file.ts';
import { openTensorBoard } from './tensorboard.ts';

export type MetricValues = Readonly<Record<string, number>>;

export interface MetricsWriter {
  /** Appends one line, in the background. Names are TensorBoard tags such as `train/loss`; `step` counts optimizer steps. */
  write(step: number, values: MetricValues): void;
  /** Takes the lines of later steps back, which will be written again. */
  goBack(step: number): Promise<void>;
  /** Resolves when all lines so far are out of this process, or the disk has no room for them. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** For ranks that leave the metrics to another. */
export const noMetrics: MetricsWriter = { write() {}, goBack: async () => {}, flush: async () => {}, close: async () => {} };

export interface MetricsOptions {
  readonly folder: string;
  /** Lines of later steps are dropped: a run resumed from a checkpoint writes them again. */
  readonly resumeStep: number;
  readonly now: () => Date;
  /** Lines can't be written for now; training does not wait for them. */
  readonly onTrouble: (error: WindlassError) => void;
}

/** Opens the metrics of a job for appending. */
export async function openMetrics({ folder, resumeStep, now, onTrouble }: MetricsOptions): Promise<MetricsWriter> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'metrics.jsonl');
  await dropLaterLines(path, resumeStep);
  let lines = await AppendFile.open(path, onTrouble);
  const seconds = () => now().getTime() / 1000;
  const board = await openTensorBoard(join(folder, 'tensorboard'), { resumeStep, seconds, onTrouble });
  return {
    write(step, values) {
      lines.append(Buffer.from(`${JSON.stringify({ step, time: now().toISOString(), ...values })}\n`));
      board.scalars(step, values);
    },
    async goBack(step) {
      await lines.close();
      await dropLaterLines(path, step);
      lines = await AppendFile.open(path, onTrouble);
      board.goBack(step);
    },
    async flush() {
      await Promise.all([lines.flush(), board.flush()]);
    },
    async close() {
      await lines.close();
      await board.close();
    },
  };
}

async function dropLaterLines(path: string, resumeStep: number): Promise<void> {
  const temporary = `${path}.tmp`;
  await rm(temporary, { force: true });
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const lines = text.split('\n').filter((line) => line !== '');
  const kept = lines.filter((line) => stepOf(line) <= resumeStep);
  if (kept.length === lines.length && (text === '' || text.endsWith('\n'))) return;
  await writeFile(temporary, kept.map((line) => `${line}\n`).join(''), { flush: true });
  await rename(temporary, path);
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
