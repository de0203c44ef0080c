// The scripts by which Argo CD judges our kinds: what they have in common once, and for each kind which condition counts first.

interface Judged {
  readonly kind: string;
  /** What the script goes by, in words. */
  readonly rule: string;
  /** Conditions that decide while they are True, the first one first. */
  readonly verdicts: readonly (readonly [condition: string, health: Health, told?: string])[];
}

type Health = 'Healthy' | 'Progressing' | 'Degraded' | 'Suspended';

/** A restart says in Ready what happened; Reconciling alone would only say that something does. */
const tellingMore = 'holds.Reconciling.message ~= "" and holds.Reconciling or ready or holds.Reconciling';

const judged: readonly Judged[] = [
  {
    kind: 'InferenceService',
    rule: 'healthy when all pods serve what is asked for, degraded when nothing but a change of the object can help',
    verdicts: [
      ['Stalled', 'Degraded'],
      ['Reconciling', 'Progressing'],
      ['Ready', 'Healthy'],
    ],
  },
  { kind: 'Model', rule: 'healthy as soon as it has a version', verdicts: [['Ready', 'Healthy']] },
  {
    kind: 'ModelVersion',
    rule: 'it is made when its files are complete, and healthy from then on',
    verdicts: [['Ready', 'Healthy']],
  },
  {
    kind: 'TrainingJob',
    rule: 'running and done are healthy, a failure for good is degraded, a restart is progress',
    verdicts: [
      ['Failed', 'Degraded'],
      ['Stalled', 'Degraded'],
      ['Complete', 'Healthy'],
      ['Reconciling', 'Progressing', tellingMore],
      ['Suspended', 'Suspended'],
      ['Ready', 'Healthy'],
    ],
  },
];

/** What the operator has not judged as it is now is in progress. */
const opening = `local health = { status = "Progressing", message = "the operator has not looked at this generation yet" }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
local holds = {}
local ready = nil
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
  if condition.type == "Ready" then
    ready = condition
  end
end
local function is(status, condition)
  health.status = status
  health.message = condition.reason .. ": " .. (condition.message or "")
  return health
end
`;

const ending = `if ready then
  return is("Progressing", ready)
end
return health
`;

/** A Lua script for each kind, as Argo CD wants it: it gets \`obj\` and returns its health. */
export const argoHealth: readonly { readonly kind: string; readonly script: string }[] = judged.map(
  ({ kind, rule, verdicts }) => {
    const tests = verdicts.map(
      ([condition, health, told]) =>
        `if holds.${condition} then\n  return is("${health}", ${told ?? `holds.${condition}`})\nend\n`,
    );
    const article = /^[AEIOU]/.test(kind) ? 'an' : 'a';
    return { kind, script: `-- Health of ${article} ${kind}: ${rule}.\n${opening}${tests.join('')}${ending}` };
  },
);
