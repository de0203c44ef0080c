// Model: a line of versions. ModelVersion: one trained model, which never changes.
import { z } from 'zod';
import { Conditions } from '../conditions.ts';
import { defineResource } from '../resource.ts';
import type { ObjectOf } from '../resource.ts';
import { boundedMap, deepEqual, withRules } from '../rules.ts';
import { Digest, oneOfPatterns, remoteFolderPattern, secretRule, SecretReference } from './remote.ts';

const generation = z
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER)
  .optional()
  .describe('Generation of the spec that this status is about.');
const bigCount = (description: string) => z.int().min(0).max(Number.MAX_SAFE_INTEGER).describe(description);

const ModelSpec = z
  .strictObject({ description: z.string().max(1024).optional().describe('What the model is for.') })
  .describe('The line of versions.');

export const ModelStatus = z
  .object({
    observedGeneration: generation,
    conditions: Conditions.optional(),
    latestVersion: z.string().max(63).optional().describe('Newest ModelVersion.'),
    versions: bigCount('How many ModelVersions there are.').optional(),
  })
  .describe('What the line holds.');
export type ModelStatus = z.output<typeof ModelStatus>;

export const Model = defineResource({
  kind: 'Model',
  plural: 'models',
  shortNames: ['md'],
  description: 'A line of model versions.',
  nameMaxLength: 52,
  spec: ModelSpec,
  status: ModelStatus,
  printerColumns: [
    { name: 'Latest', type: 'string', jsonPath: '.status.latestVersion' },
    { name: 'Versions', type: 'integer', jsonPath: '.status.versions' },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ],
  example: { metadata: { name: 'moby' }, spec: { description: 'Continues sentences in the manner of Moby-Dick.' } },
});
export type Model = ObjectOf<typeof Model>;

const ModelVersionFields = z
  .strictObject({
    model: z.string().min(1).max(63).describe('Model that this is a version of.'),
    number: z.int().min(1).max(2_147_483_647).describe('Number of the version within its model; the highest is the newest.'),
    uri: z
      .string()
      .min(1)
      .max(4096)
      .regex(
        oneOfPatterns(/pvc:\/\/[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/.+/, remoteFolderPattern),
        'must be pvc://CLAIM/PATH or https://HOST/PATH/',
      )
      .describe('Where the files are: pvc://CLAIM/PATH, or a folder on a server with a list SHA256SUMS of them.'),
    secretRef: SecretReference.optional(),
    url: z
      .string()
      .max(4096)
      .regex(oneOfPatterns(remoteFolderPattern), 'must be https://HOST/PATH/')
      .optional()
      .describe('Folder on a server that the job put a copy of the files into, with the same digest.'),
    digest: Digest.describe('Checksum of all files: sha256 over the sorted lines `<sha256>  <file>`.'),
    format: z.enum(['huggingface']).describe('Layout of the folder.'),
    architecture: z.string().min(1).max(128).describe('Architecture, as config.json names it.'),
    parameters: bigCount('Number of parameters.'),
    contextLength: z.int().min(1).max(2_147_483_647).describe('Longest sequence that the model takes.'),
    vocabularySize: z.int().min(1).max(2_147_483_647).describe('Tokens of the tokenizer.'),
    bytes: bigCount('Size of all files.'),
    source: z
      .strictObject({
        job: z.string().min(1).max(63).describe('TrainingJob that made it.'),
        uid: z.string().min(1).max(64).describe('uid of the TrainingJob.'),
        step: bigCount('Step that the weights are of.'),
      })
      .optional()
      .describe('Where it comes from.'),
    metrics: boundedMap(z.string().max(64), z.number(), 64).default({}).describe('Figures of the training, such as heldOutLoss.'),
  })
  .describe('A trained model. Nothing of it changes.');

const ModelVersionSpec = withRules(ModelVersionFields, [secretRule('uri')]);

export const ModelVersionStatus = z
  .object({ observedGeneration: generation, conditions: Conditions.optional() })
  .describe('Whether the version can be used.');
export type ModelVersionStatus = z.output<typeof ModelVersionStatus>;

export const ModelVersion = defineResource({
  kind: 'ModelVersion',
  plural: 'modelversions',
  shortNames: ['mv'],
  description: 'One trained model: its files, checksum and origin. Immutable.',
  spec: ModelVersionSpec,
  status: ModelVersionStatus,
  printerColumns: [
    { name: 'Model', type: 'string', jsonPath: '.spec.model' },
    { name: 'Parameters', type: 'integer', jsonPath: '.spec.parameters' },
    { name: 'Step', type: 'integer', jsonPath: '.spec.source.step' },
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Digest', type: 'string', jsonPath: '.spec.digest', priority: 1 },
    { name: 'URI', type: 'string', jsonPath: '.spec.uri', priority: 1 },
  ],
  transitions: [
    {
      cel: 'self == oldSelf',
      holds: deepEqual,
      message: 'a ModelVersion never changes; publish another version',
      path: [],
    },
  ],
  example: {
    metadata: { name: 'moby-1' },
    spec: {
      model: 'moby',
      number: 1,
      uri: 'pvc://windlass-models/default/moby/moby-1',
      digest: `sha256:${'0'.repeat(64)}`,
      format: 'huggingface',
      architecture: 'LlamaForCausalLM',
      parameters: 3_440_832,
      contextLength: 256,
      vocabularySize: 4096,
      bytes: 13_800_000,
      source: { job: 'moby', uid: '6f1c2c1e-3c1e-4a6e-9d55-1f1d7b1f0a11', step: 400 },
      metrics: { heldOutLoss: 5.1 },
    },
  },
});
export type ModelVersion = ObjectOf<typeof ModelVersion>;
