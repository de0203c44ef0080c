// What a TrainingJob asks of the cluster, resolved, for whoever admits jobs by quota.
import type { Effective, PodSet, TrainingJob } from '#crds/v1alpha1/index.ts';
import { mergeTemplates } from '../effective.ts';
import { fewestRanks, podsOf } from './pods.ts';

/** One set: the pods of a job are alike. */
export function podSetsOf(job: TrainingJob, effective: Effective): PodSet[] {
  const { nodeSelector, tolerations, resources } = mergeTemplates(effective.podTemplate, job.spec.podTemplate);
  const { priorityClassName, schedulingConstraints } = job.spec.scheduling ?? {};
  const [count, minCount] = [podsOf(job), fewestRanks(job)];
  return [
    {
      name: 'worker',
      count,
      minCount: minCount < count ? minCount : undefined,
      requests: quantities(resources?.requests),
      limits: quantities(resources?.limits),
      nodeSelector: nonEmpty(nodeSelector),
      tolerations: nonEmpty(tolerations),
      priorityClassName,
      topologyKey: schedulingConstraints?.topology[0]?.key,
    },
  ];
}

function quantities(amounts: Readonly<Record<string, string | number | undefined>> = {}): Record<string, string> | undefined {
  const given = Object.entries(amounts).filter(([, amount]) => amount !== undefined);
  return nonEmpty(Object.fromEntries(given.map(([resource, amount]) => [resource, String(amount)])));
}

function nonEmpty<T extends object>(some: T | undefined): T | undefined {
  return some === undefined || Object.keys(some).length === 0 ? undefined : some;
}
