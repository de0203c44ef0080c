// What a service served when all was well, and how to have that again when the target fails.
import type { InferenceService, InferenceServiceStatus } from '#crds/v1alpha1/index.ts';

type LastServed = NonNullable<NonNullable<InferenceServiceStatus['model']>['lastServed']>;

/** What all pods serve now that they answer; what it was before while they do not. It is known before any pod is ended for the target. */
export function lastServedOf(
  { spec, status }: InferenceService,
  { rolled, now }: { rolled: boolean; now: LastServed },
): { lastServed?: LastServed } {
  const lastServed = rolled && spec.replicas > 0 ? now : status?.model?.lastServed;
  return lastServed === undefined ? {} : { lastServed };
}

/** What was served before pods of `now`, and what to change to have it back; undefined if it was the same, or nothing. */
export function wayBack({ status }: InferenceService, now: LastServed): string | undefined {
  const before = status?.model?.lastServed;
  if (!before || before.revision === now.revision) return undefined;
  const { target, revision } = before;
  if (target === now.target)
    return `Before, ${target} was served with another spec (revision ${revision}): apply that one to have it back.`;
  const field = /[/:]/.test(target) ? 'uri' : 'version';
  return `Before, ${target} was served: set spec.model.${field} to ${target} to have it back.`;
}
