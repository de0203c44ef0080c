// Writes a status once per reconcile, and only what changed of it.
import { applyConditions } from '#crds/conditions.ts';
import type { Condition, ConditionChange } from '#crds/conditions.ts';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { TerminalError } from '#operator/framework/controller.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { keyOf } from '#operator/kube/client.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isInvalid } from '#operator/kube/errors.ts';
import { jsonCopy, mergePatchBetween } from '#operator/kube/json.ts';

/** Brings the status to `next`. Throws a conflict if the object changed since it was read. */
export async function writeStatus<T extends KubeObject & { status?: unknown }>(
  client: KubeClient,
  type: ResourceType<T>,
  object: T,
  next: object,
): Promise<void> {
  const patch = mergePatchBetween(object.status ?? {}, jsonCopy(next));
  if (!patch) return;
  const { uid, resourceVersion } = object.metadata;
  await client.patchStatus(type, keyOf(object), patch, { uid, resourceVersion });
}

/** What an object says whose child the API refused as invalid. */
export function refusalConditions(message: string): ConditionChange[] {
  const why = { reason: 'ChildRefused', message };
  return [
    { type: 'Ready', status: 'False', ...why },
    { type: 'Stalled', status: 'True', ...why },
    { type: 'Reconciling', status: 'False', ...why },
  ];
}

/**
 * What to throw after an action failed. If the API refused a child as invalid, trying again would not help: the object says so in its
 * conditions, and the error is terminal.
 */
export async function refusal<T extends KubeObject & { status?: { conditions?: Condition[] | undefined } | undefined }>(
  client: KubeClient,
  type: ResourceType<T>,
  object: T,
  error: unknown,
  clock: Clock,
): Promise<unknown> {
  if (!isInvalid(error)) return error;
  const generation = object.metadata.generation ?? 0;
  const changes = refusalConditions(error.message);
  const conditions = applyConditions(object.status?.conditions, changes, generation, isoTime(clock.now()));
  await writeStatus(client, type, object, { ...object.status, observedGeneration: generation, conditions });
  return new TerminalError(error.message, { cause: error });
}
