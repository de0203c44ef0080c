// TrainingJob: trains a model on data and publishes the result as a ModelVersion.
import { z } from 'zod';
import { defineResource } from '../resource.ts';
import type { ObjectOf } from '../resource.ts';
import { fieldsFrozenWhileRunning, immutableFields, oneOfMembers, withRules } from '../rules.ts';
import { Faults } from './faults.ts';
import { layoutRules } from './layout-rules.ts';
import { ModelSource } from './model-config.ts';
import { Parallelism } from './parallelism.ts';
import { PodTemplate, RuntimeReference } from './pod-template.ts';
import { Pretrain } from './pretrain.ts';
import { remoteFolderPattern, oneOfPatterns, secretRule, SecretReference } from './remote.ts';
import { Scheduling } from './scheduling.ts';
import { TrainingData } from './training-data.ts';
import { TrainingJobStatus } from './training-job-status.ts';

const managerPattern =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

const Output = withRules(
  z
    .strictObject({
      model: z
        .string()
        .min(1)
        .max(52)
        .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'must be lower-case letters, digits and "-"')
        .describe('Model that the result becomes the next version of; created if it does not exist.'),
      uri: z
        .string()
        .min(1)
        .max(1024)
        .regex(oneOfPatterns(remoteFolderPattern), 'must be https://HOST/PATH/')
        .optional()
        .describe(
          'Folder on a server that takes PUT: a copy of the version goes below it, its list SHA256SUMS last. The version on the claim is made first, and stays if the server does not take it.',
        ),
      secretRef: SecretReference.optional(),
    })
    .describe('Where the result goes.'),
  [secretRule('uri')],
);

const Spec = withRules(
  z
    .strictObject({
      model: ModelSource,
      data: TrainingData,
      task: oneOfMembers({ pretrain: Pretrain }).describe('What the model learns to do.'),
      parallelism: Parallelism.prefault({}),
      elastic: z
        .strictObject({
          minRanks: z.int().min(1).max(1024).describe('Fewest ranks that the job goes on with when others are lost.'),
          maxRanks: z
            .int()
            .min(1)
            .max(1024)
            .optional()
            .describe('Most ranks that the job uses when it can have them. Those of parallelism if absent.'),
        })
        .optional()
        .describe('Lets the job go on with fewer or more ranks, by halving or doubling the data ranks. The result is the same.'),
      recompute: z
        .enum(['none', 'block', 'attention', 'mlp'])
        .default('none')
        .describe(
          'What the backward pass computes again instead of keeping: all of a block (which costs a third more time), or that part of each block.',
        ),
      recomputeBudgetMiB: z
        .int()
        .min(1)
        .max(2_147_483_647)
        .optional()
        .describe(
          'Instead of recompute: memory of a rank for what is kept for the backward pass; what exceeds it is computed again.',
        ),
      precision: z
        .enum(['f32', 'bf16'])
        .optional()
        .describe(
          'What the forward pass keeps for the backward pass, and what products read. bf16 needs half the memory for activations, and its products are several times as fast on CPUs with AMX; sums, gradients, the weights that are updated and checkpoints stay f32. f32 if absent.',
        ),
      checkpoint: z
        .strictObject({
          everySteps: z.int().min(1).max(100_000_000).default(100).describe('Steps between two checkpoints.'),
          keep: z.int().min(1).max(1000).default(2).describe('Newest checkpoints that are kept.'),
        })
        .prefault({})
        .describe('State that the job resumes from.'),
      faults: Faults.prefault({}),
      trace: z
        .strictObject({
          steps: z.int().min(1).max(100).default(3).describe('Steps that are traced.'),
          afterStep: z.int().min(0).max(100_000_000).default(10).describe('The step after which tracing begins.'),
        })
        .optional()
        .describe(
          "Has every rank write what it computed and sent in some steps, and when, into trace-rank-NNNNN.json of the job's folder, for Perfetto or `windlass plan --trace`. Read when the pods start.",
        ),
      suspend: z.boolean().default(false).describe('Stops the pods after a checkpoint; false lets the job go on from it.'),
      activeDeadlineSeconds: z
        .int()
        .min(1)
        .max(2_147_483_647)
        .optional()
        .describe(
          'Seconds after the start, or after the end of a suspension, at which an unfinished job fails. No limit if absent.',
        ),
      ttlSecondsAfterFinished: z
        .int()
        .min(0)
        .max(2_147_483_647)
        .optional()
        .describe('Seconds after which a finished job is deleted. Its ModelVersion stays. Never if absent.'),
      scheduling: Scheduling.optional(),
      managedBy: z
        .string()
        .min(3)
        .max(63)
        .regex(managerPattern, 'must be a domain and a path, such as example.com/controller')
        .optional()
        .describe(
          'Who runs the job, such as kueue.x-k8s.io/multikueue. Windlass leaves a job of another one alone. Its own if absent or windlass.dev/trainingjob-controller.',
        ),
      runtimeRef: RuntimeReference.optional(),
      podTemplate: PodTemplate.optional(),
      output: Output,
    })
    .describe('The training that is asked for.'),
  [
    {
      cel: 'has(self.model.from) || has(self.data.tokenizer)',
      holds: (self) => self.model.from !== undefined || self.data.tokenizer !== undefined,
      message: 'a new model needs data.tokenizer: {train: {vocabularySize: N}} or {uri: PATH}',
      path: ['data', 'tokenizer'],
    },
    {
      cel: '!has(self.task.pretrain) || !has(self.task.pretrain.evaluation) || self.data.heldOut > 0.0',
      holds: (self) => self.task.pretrain?.evaluation === undefined || self.data.heldOut > 0,
      message: 'task.pretrain.evaluation needs held-out data; set data.heldOut above 0',
      path: ['data', 'heldOut'],
    },
    {
      cel: '!has(self.model.config) || !has(self.model.config.contextLength) || !has(self.task.pretrain) || self.task.pretrain.batch.length <= self.model.config.contextLength',
      holds: (self) => (self.task.pretrain?.batch.length ?? 0) <= (self.model.config?.contextLength ?? Infinity),
      message: 'task.pretrain.batch.length must not exceed model.config.contextLength',
      path: ['task', 'pretrain', 'batch', 'length'],
    },
    {
      cel: "!has(self.recomputeBudgetMiB) || self.recompute == 'none'",
      holds: (self) => self.recomputeBudgetMiB === undefined || self.recompute === 'none',
      message: 'set recompute or recomputeBudgetMiB, not both',
      path: ['recomputeBudgetMiB'],
    },
    ...layoutRules,
  ],
);

export const TrainingJob = defineResource({
  kind: 'TrainingJob',
  plural: 'trainingjobs',
  shortNames: ['tj'],
  description: 'Trains a model on data and publishes the result as a ModelVersion.',
  nameMaxLength: 52,
  spec: Spec,
  status: TrainingJobStatus,
  printerColumns: [
    { name: 'State', type: 'string', jsonPath: '.status.state' },
    { name: 'Ranks', type: 'string', jsonPath: '.status.summary.ranks' },
    { name: 'Step', type: 'string', jsonPath: '.status.summary.step' },
    { name: 'Loss', type: 'string', jsonPath: '.status.summary.loss' },
    { name: 'Tok/s', type: 'string', jsonPath: '.status.summary.tokensPerSecond' },
    { name: 'ETA', type: 'string', jsonPath: '.status.summary.eta' },
    { name: 'Restarts', type: 'integer', jsonPath: '.status.restarts' },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Version', type: 'string', jsonPath: '.status.modelVersion', priority: 1 },
    { name: 'Held-out', type: 'string', jsonPath: '.status.summary.heldOutLoss', priority: 1 },
  ],
  transitions: [
    ...immutableFields(
      { always: ['model', 'data', 'task', 'output'], optional: ['precision', 'runtimeRef', 'managedBy'] },
      'create a job of another name, or delete this one first',
    ),
    ...fieldsFrozenWhileRunning({
      always: ['parallelism', 'recompute', 'checkpoint'],
      optional: ['elastic', 'recomputeBudgetMiB', 'podTemplate', 'scheduling'],
    }),
  ],
  example: {
    metadata: { name: 'moby' },
    spec: {
      model: { family: 'llama', config: { hiddenSize: 192, layers: 6, heads: 6 } },
      data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 4096 } } },
      task: { pretrain: { steps: 400, batch: { sequences: 16, length: 256 }, optimizer: { learningRate: 3e-3 } } },
      output: { model: 'moby' },
    },
  },
});
export type TrainingJob = ObjectOf<typeof TrainingJob>;
export type TrainingJobSpec = z.output<typeof Spec>;
