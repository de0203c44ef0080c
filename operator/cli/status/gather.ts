// What belongs to an object: its pods, its events.
import { label } from '#crds/names.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import type { CommandApi } from '#operator/local/control-api.ts';
import { Event, Pod } from '#operator/kube/core.ts';

/** Labels that all pods of an object carry; undefined for kinds without pods. */
export function podLabels({ kind, metadata: { name } }: KubeObject): Record<string, string> | undefined {
  if (kind === TrainingJob.kind) return { [label.job]: name };
  return kind === InferenceService.kind ? { [label.service]: name } : undefined;
}

/** Pods of an object, and not those of another one of the same name before it. */
export async function podsOf(api: CommandApi, object: KubeObject): Promise<Pod[]> {
  const labels = podLabels(object);
  if (!labels) return [];
  const { items } = await api.list(Pod, { namespace: object.metadata.namespace, labels });
  return items.filter(({ metadata }) => isOwner(object, metadata.ownerReferences));
}

function isOwner({ metadata: { uid } }: KubeObject, owners: KubeObject['metadata']['ownerReferences']): boolean {
  return owners === undefined || owners.some((owner) => owner.uid === uid);
}

/** Events about an object and its pods. */
export async function eventsOf(api: CommandApi, object: KubeObject, pods: readonly Pod[]): Promise<Event[]> {
  const { items } = await api.list(Event, { namespace: object.metadata.namespace });
  const uids = new Set([object, ...pods].map(({ metadata }) => metadata.uid));
  return items.filter(({ regarding }) => uids.has(regarding?.uid));
}
