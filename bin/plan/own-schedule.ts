// A schedule from a file, in the place of the one that a manifest asks for: to check it and to draw it before it goes into the manifest.
import { readFile } from 'node:fs/promises';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { ownScheduleFault } from '#runtime/api/schedule/own-schedule.ts';

/** Throws WL_MANIFEST_INVALID with the line and column of the file, WL_FILE_MISSING. */
export async function withScheduleFile(spec: TrainingJobSpec, path: string): Promise<TrainingJobSpec> {
  const { stagesPerRank: _, ...parallelism } = spec.parallelism;
  const scheduleCsv = await readFile(path, 'utf8').catch((error: unknown) => {
    const { code, message } = toWindlassError(error);
    throw new WindlassError(code, `${path}: ${message}`, { cause: error });
  });
  const own = { ...spec, parallelism: { ...parallelism, schedule: 'csv' as const, scheduleCsv } };
  const fault = ownScheduleFault(own);
  if (fault !== undefined) throw new WindlassError('WL_MANIFEST_INVALID', fault.replace('spec.parallelism.scheduleCsv', path));
  return own;
}
