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
import type { JsonObject } from '#operator/kube/json.ts';

/** What of the status is not as `next` says; undefined if all is. */
export function statusChange(object: { status?: unknown }, next: object): JsonObject | undefined {
  return mergePatchBetween(object.status ?? {}, jsonCopy(next));
}

/** Brings the status to `next`, and gives the object as it is then. Throws a conflict if the object changed since it was read. */
export async function writeStatus<T extends KubeObject & { status?: unknown }>(
  client: KubeClient,
  type: ResourceType<T>,
  object: T,
  next: object,
): Promise<T> {
  const change = statusChange(object, next);
  return change ? await writeStatusChange(client, type, object, change) : object;
}

/** The same for a change that is known. */
export async function writeStatusChange<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  object: T,
  change: JsonObject,
): Promise<T> {
  const { uid, resourceVersion } = object.metadata;
  return await client.patchStatus(type, keyOf(object), change, { uid, resourceVersion });
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
