// `windlass logs`: what the pods of a job or service print, of an instance or a cluster.
import { isConditionTrue } from '#crds/conditions.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { parseReference } from '../target/references.ts';
import type { InstanceTarget, Target } from '../target/target.ts';
import { clusterLogs } from './cluster-logs.ts';
import type { LogsOptions } from './cluster-logs.ts';
import { printLogs } from './instance-logs.ts';

/** Throws WL_OBJECT_NOT_FOUND, WL_USAGE for what an instance can't do, or what the API refuses. */
export async function showLogs(target: Target, options: LogsOptions): Promise<void> {
  if (target.kind === 'cluster') return await clusterLogs(target, options);
  const { follow, rank, tail, previous, sinceSeconds, signal, words } = options;
  if (previous || sinceSeconds !== undefined) {
    const flag = previous ? '--previous' : '--since';
    throw new WindlassError(
      'WL_USAGE',
      `${flag} is for clusters: an instance of this machine keeps one log for each pod, without times`,
    );
  }
  const { name } = parseReference(words, { nameFirst: true });
  if (name === undefined) throw new WindlassError('WL_USAGE', 'name a job, service or pod');
  const write = (text: string) => void options.write(text);
  await printLogs(target.state, name, { follow, rank, tail, signal, write, isOver: () => hasEnded(target, name) });
}

/** Whether nothing more will be printed: the instance has ended, or the job has and no service goes by its name. */
async function hasEnded({ api }: InstanceTarget, name: string): Promise<boolean> {
  try {
    const [jobs, services] = await Promise.all([api.list(TrainingJob), api.list(InferenceService)]);
    if (services.items.some(({ metadata }) => name === metadata.name || name.startsWith(`${metadata.name}-`))) return false;
    const meant = jobs.items.filter(({ metadata }) => metadata.name === name || name.startsWith(`${metadata.name}-worker-`));
    return meant.length > 0 && meant.every((job) => isConditionTrue(job, 'Complete') || isConditionTrue(job, 'Failed'));
  } catch (error) {
    if (error instanceof WindlassError && error.code === 'WL_NOT_RUNNING') return true;
    throw error;
  }
}
