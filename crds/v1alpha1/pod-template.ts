// What a user or an admin may set on pods: an allow-list. Nothing here can leave the namespace, the sandbox or Pod Security `restricted`.
import { z } from 'zod';
import { boundedMap } from '../rules.ts';

const quantityPattern = /^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$/;
const labelKeyPattern = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const labelValuePattern = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;

/** An amount of a resource: 2, "500m", "4Gi". */
const Quantity = z
  .union([
    z.int().min(0).max(Number.MAX_SAFE_INTEGER),
    z.string().max(32).regex(quantityPattern, 'must be an amount such as 2, 500m or 4Gi'),
  ])
  .describe('An amount such as 2, 500m or 4Gi.')
  .meta({ 'x-kubernetes-int-or-string': true, pattern: quantityPattern.source, maxLength: 32 });

const labelMap = (description: string) =>
  boundedMap(
    z.string().max(317).regex(labelKeyPattern, 'must be a label key'),
    z.string().max(63).regex(labelValuePattern, 'must be a label value'),
    32,
  )
    .optional()
    .describe(description);

const Quantities = z.strictObject({
  cpu: Quantity.optional(),
  memory: Quantity.optional(),
  'ephemeral-storage': Quantity.optional(),
});

const ResourceRequirements = z
  .strictObject({
    requests: Quantities.optional().describe('What the scheduler reserves.'),
    limits: Quantities.optional().describe('What the container may use at most.'),
  })
  .describe('Resources of the main container.');

const Toleration = z
  .strictObject({
    key: z.string().max(317).optional().describe('Taint that is tolerated; all taints if absent (operator Exists).'),
    operator: z.enum(['Equal', 'Exists']).default('Equal').describe('How the value is compared.'),
    value: z.string().max(63).optional().describe('Value of the taint.'),
    effect: z
      .enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])
      .optional()
      .describe('Effect that is tolerated; all if absent.'),
    tolerationSeconds: z.int().min(0).max(2_147_483_647).optional().describe('How long a NoExecute taint is tolerated.'),
  })
  .describe('A taint that the pod tolerates.');

export const PodTemplate = z
  .strictObject({
    labels: labelMap('Labels added to the pods.'),
    nodeSelector: labelMap('Labels that a node must have.'),
    tolerations: z.array(Toleration).max(16).optional().describe('Taints that the pods tolerate.'),
    resources: ResourceRequirements.optional(),
  })
  .describe('Settings of the pods. Only these may be set.');
export type PodTemplate = z.output<typeof PodTemplate>;

export const RuntimeReference = z
  .strictObject({
    kind: z
      .enum(['TrainingRuntime', 'ClusterTrainingRuntime'])
      .default('ClusterTrainingRuntime')
      .describe('Kind of the runtime; a TrainingRuntime is of the same namespace.'),
    name: z.string().min(1).max(63).describe('Name of the runtime.'),
  })
  .describe(
    "The admin's template that the pods start from. Its settings are copied to status.effective when the first pod is made.",
  );
export type RuntimeReference = z.output<typeof RuntimeReference>;
