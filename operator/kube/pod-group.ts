// PodGroup of scheduling.k8s.io/v1beta1, as far as we use it: pods that the scheduler places as a whole. Kubernetes 1.37 serves it where it is turned on.
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import type { Scheduling } from '#crds/v1alpha1/index.ts';

/** A condition of the scheduler. */
interface PodGroupCondition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason?: string;
  message?: string;
}

export interface PodGroup extends KubeObject {
  spec: {
    schedulingPolicy: { gang: { minCount: number } };
    schedulingConstraints?: Scheduling['schedulingConstraints'];
    disruptionMode?: Scheduling['disruptionMode'];
    priorityClassName?: string;
  };
  status?: { conditions?: PodGroupCondition[] };
}

export const PodGroup: ResourceType<PodGroup> = {
  group: 'scheduling.k8s.io',
  version: 'v1beta1',
  kind: 'PodGroup',
  plural: 'podgroups',
  namespaced: true,
};

/** Whether the scheduler has placed the group as a whole, once True for good; undefined while it has not tried. */
export function placement(group: PodGroup): PodGroupCondition | undefined {
  return group.status?.conditions?.find(({ type }) => type === 'PodGroupInitiallyScheduled');
}
