// The PodDisruptionBudget of a service: a drain of nodes ends a pod only when enough others answer.
import { label, managedBy } from '#crds/names.ts';
import type { InferenceService } from '#crds/v1alpha1/index.ts';
import type { PodDisruptionBudget } from '#operator/kube/core.ts';
import { controllerReference } from '../pod-shell.ts';
import { podSelector } from './pods.ts';

export type BudgetAction =
  | { type: 'createBudget'; budget: PodDisruptionBudget }
  | { type: 'updateBudget'; budget: PodDisruptionBudget };

/** What the budget needs. One of the same name that somebody else made is left alone: it is theirs to decide. */
export function planBudget(service: InferenceService, seen: PodDisruptionBudget | undefined): BudgetAction[] {
  const wanted = budgetOf(service);
  if (!seen) return [{ type: 'createBudget', budget: wanted }];
  const isOurs = seen.metadata.ownerReferences?.some(({ uid }) => uid === service.metadata.uid);
  if (!isOurs || seen.spec.minAvailable === wanted.spec.minAvailable) return [];
  return [{ type: 'updateBudget', budget: { ...seen, spec: { ...seen.spec, minAvailable: wanted.spec.minAvailable } } }];
}

/**
 * All but one must answer. The only one goes when another has been made in its place, which happens where its node is cordoned; but who drains
 * first has room for one alone, and it may go.
 */
function budgetOf(service: InferenceService): PodDisruptionBudget {
  const { name, namespace } = service.metadata;
  const { replicas, rollout } = service.spec;
  const least = rollout.strategy === 'Surge' ? Math.min(replicas, 1) : 0;
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { [label.managedBy]: managedBy, ...podSelector(service) },
      ownerReferences: [controllerReference(service)],
    },
    spec: {
      minAvailable: Math.max(least, replicas - 1),
      selector: { matchLabels: podSelector(service) },
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
    },
  };
}
