// Conditions as the API conventions and kstatus want them, and how controllers change them.
import { z } from 'zod';

export const Condition = z
  .object({
    type: z.string().max(64).describe('What the condition is about, such as Ready.'),
    status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
    reason: z.string().max(128).describe('Why, as one CamelCase word for programs.'),
    message: z.string().max(4096).default('').describe('Why, for people: what happened, to what, and what to do.'),
    lastTransitionTime: z.iso.datetime().describe('When status last changed.'),
    observedGeneration: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('Generation of the spec that this was judged by.'),
  })
  .describe('One aspect of the state of an object.');
export type Condition = z.output<typeof Condition>;

/** The `conditions` field of a status. */
export const Conditions = z
  .array(Condition)
  .max(16)
  .describe('What holds for the object. Reconciling and Stalled are present only while True.')
  .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] });

export type ConditionType =
  | 'Ready'
  | 'Complete'
  | 'Failed'
  | 'Suspended'
  | 'Reconciling'
  | 'Stalled'
  | 'GangScheduled'
  | 'Copied';

/** What a controller says about a condition; the transition time follows from the change. */
export interface ConditionChange {
  type: ConditionType;
  status: Condition['status'];
  reason: string;
  message?: string;
}

/**
 * The conditions after `changes`: `lastTransitionTime` moves only when `status` changes. Reconciling and Stalled are dropped when not True,
 * as kstatus expects.
 */
export function applyConditions(
  before: readonly Condition[] | undefined,
  changes: readonly ConditionChange[],
  generation: number,
  time: string,
): Condition[] {
  const byType = new Map((before ?? []).map((condition) => [condition.type, condition]));
  for (const change of changes) {
    const old = byType.get(change.type);
    byType.set(change.type, {
      type: change.type,
      status: change.status,
      reason: change.reason,
      message: (change.message ?? '').slice(0, 4096),
      lastTransitionTime: old?.status === change.status ? old.lastTransitionTime : time,
      observedGeneration: generation,
    });
  }
  // What stays as it was holds for this generation too: `kubectl wait` ignores conditions of an older one.
  return [...byType.values()]
    .filter((condition) => (condition.type !== 'Reconciling' && condition.type !== 'Stalled') || condition.status === 'True')
    .map((condition) => ({ ...condition, observedGeneration: generation }));
}

type WithConditions = { status?: { conditions?: readonly Condition[] | undefined } | undefined };

function findCondition(object: WithConditions, type: ConditionType): Condition | undefined {
  return object.status?.conditions?.find((condition) => condition.type === type);
}

export function isConditionTrue(object: WithConditions, type: ConditionType): boolean {
  return findCondition(object, type)?.status === 'True';
}
