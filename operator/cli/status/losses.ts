// The losses of a job of this machine, from the metrics that its rank 0 writes beside the checkpoints.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { storage } from '#crds/names.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { claimFolder } from '#operator/local/volumes.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { LossCurve } from '../loss-curve.ts';

/** Loss of each step, oldest first; none if there are no metrics. */
export async function lossesOf(
  state: StateDir,
  { metadata: { name, namespace = 'default' }, status }: TrainingJob,
): Promise<readonly number[]> {
  const claim = status?.effective?.jobsClaim ?? storage.jobsClaim;
  const file = join(claimFolder(state.path, namespace, claim), namespace, name, 'metrics.jsonl');
  const text = await readFile(file, 'utf8').catch(() => '');
  const curve = new LossCurve();
  for (const line of text.split('\n')) {
    const { step, loss } = valuesOf(line);
    if (step !== undefined && loss !== undefined) curve.add(step, loss);
  }
  return curve.values;
}

/** Nothing of a line that is being written. */
function valuesOf(line: string): { step?: number | undefined; loss?: number | undefined } {
  try {
    const { step, 'train/loss': loss } = JSON.parse(line) as { step?: number; 'train/loss'?: number };
    return { step, loss };
  } catch {
    return {};
  }
}
