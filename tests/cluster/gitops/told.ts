// An object as its controller left it, and what others shall read from it.
import { applyConditions } from '#crds/conditions.ts';
import type { Condition } from '#crds/conditions.ts';
import type { KubeObject } from '#crds/resource.ts';
import { refusalConditions } from '#operator/controllers/status-writer.ts';

export interface Told {
  /** A sentence's subject: `a TrainingJob running`. */
  readonly name: string;
  readonly object: KubeObject;
  readonly kstatus: 'InProgress' | 'Current' | 'Failed' | 'Terminating';
  readonly argo: 'Progressing' | 'Healthy' | 'Degraded' | 'Suspended';
}

type WithStatus = KubeObject & { status?: { conditions?: Condition[] | undefined; observedGeneration?: number | undefined } };

/** As the API server shows an object that no controller has seen. */
export const unobserved = <T extends WithStatus>(object: T): T => ({ ...object, status: { observedGeneration: 0 } });

/** After an edit that no controller has seen. */
export function changed<T extends KubeObject>(object: T): T {
  return { ...object, metadata: { ...object.metadata, generation: (object.metadata.generation ?? 0) + 1 } };
}

export function leaving<T extends KubeObject>(object: T): T {
  return { ...object, metadata: { ...object.metadata, deletionTimestamp: '2026-01-01T12:00:00Z' } };
}

/** After the API refused a child. */
export function refused<T extends WithStatus>(object: T): T {
  const { generation = 0 } = object.metadata;
  const changes = refusalConditions('spec.containers[0].resources: Invalid value');
  const conditions = applyConditions(object.status?.conditions, changes, generation, '2026-01-01T12:00:00Z');
  return { ...object, status: { ...object.status, observedGeneration: generation, conditions } };
}
