// InferenceService: serves a model over HTTP and replaces it with the next version.
import { z } from 'zod';
import { Conditions } from '../conditions.ts';
import { defineResource } from '../resource.ts';
import type { ObjectOf } from '../resource.ts';
import { oneOfMembersWith, withRules } from '../rules.ts';
import { Effective } from './effective.ts';
import { modelFolderPattern, notAModelFolder } from './model-config.ts';
import { PodTemplate, RuntimeReference } from './pod-template.ts';
import { Digest, digestNeeded, digestRule, secretRule, SecretReference } from './remote.ts';

const objectName = (description: string) =>
  z
    .string()
    .min(1)
    .max(63)
    .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'must be lower-case letters, digits and "-"')
    .describe(description);

/** Types of the KV cache. */
export const cacheTypes = ['f32', 'f16', 'bf16', 'q8_0'] as const;

const EngineFields = z
  .strictObject({
    maxSequences: z.int().min(1).max(4096).default(16).describe('Requests that are generated for at the same time; others wait.'),
    maxBatchedTokens: z.int().min(16).max(1_048_576).default(512).describe('Tokens of one step, prompts and answers together.'),
    blockSize: z.int().min(1).max(1024).default(16).describe('Tokens of a block of the KV cache.'),
    cacheBytes: z
      .int()
      .min(1_048_576)
      .max(Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('Memory of the KV cache. Enough for maxSequences of full length, at most 1 GiB, if absent.'),
    cacheType: z
      .enum(cacheTypes)
      .optional()
      .describe(
        'What keys and values are kept as. f32 if absent, with which what is generated is bit for bit what the trainer computes; f16 and bf16 take half of its memory, q8_0 little more than a quarter.',
      ),
    contextLength: z
      .int()
      .min(2)
      .max(1_048_576)
      .optional()
      .describe('Longest prompt and answer together. As long as the model takes if absent.'),
    speculativeTokens: z
      .int()
      .min(0)
      .max(32)
      .optional()
      .describe(
        'Tokens that are guessed at most from what stands in a text already, and checked in one step. Answers stay the same; those that repeat their prompt come faster. None if absent.',
      ),
  })
  .describe('Settings of the engine.');

const Engine = withRules(EngineFields, [
  {
    cel: '!has(self.speculativeTokens) || self.speculativeTokens < self.maxBatchedTokens',
    holds: ({ speculativeTokens, maxBatchedTokens }) => speculativeTokens === undefined || speculativeTokens < maxBatchedTokens,
    message: 'must be less than maxBatchedTokens: one step checks all of them',
    path: ['speculativeTokens'],
  },
]);

const FromTrainingJob = z
  .strictObject({
    name: objectName('The TrainingJob.'),
    follow: z
      .boolean()
      .default(true)
      .describe('Goes on to what a later job of the name publishes. If false, the first version that was served stays.'),
  })
  .describe('Serves what the TrainingJob of this name has published.');

const ServedModel = withRules(
  oneOfMembersWith(
    {
      name: objectName('Serves the newest version of this Model, and the next one as soon as it is published.'),
      version: objectName('Serves this ModelVersion.'),
      uri: z
        .string()
        .min(1)
        .max(4096)
        .regex(modelFolderPattern, notAModelFolder)
        .describe(
          'Serves the Hugging Face folder or GGUF file at this path, or the folder on this server, where it has a list SHA256SUMS of its files.',
        ),
      fromTrainingJob: FromTrainingJob,
    },
    {
      digest: Digest.describe('sha256 of the sorted SHA256SUMS of the folder on the server, as ModelVersions have it.'),
      secretRef: SecretReference,
    },
  ).describe('What is served.'),
  [digestNeeded('uri'), digestRule('uri'), secretRule('uri')],
);

const Rollout = z
  .strictObject({
    strategy: z
      .enum(['Surge', 'DrainFirst'])
      .default('Surge')
      .describe(
        'Surge starts new pods before it ends old ones, and fails no request. DrainFirst ends old pods first, one at a time, for machines on which no more fit; with one replica nothing answers meanwhile.',
      ),
    progressDeadlineSeconds: z
      .int()
      .min(1)
      .max(2_147_483_647)
      .default(600)
      .describe('A rollout in which no further pod became ready for so long is Stalled; old pods go on serving.'),
  })
  .describe('How pods are replaced.');

const Spec = z
  .strictObject({
    model: ServedModel,
    replicas: z.int().min(0).max(1000).default(1).describe('Pods that serve.'),
    port: z.int().min(1).max(65_535).default(8080).describe('Port of the service.'),
    engine: Engine.prefault({}),
    rollout: Rollout.prefault({}),
    drain: z
      .strictObject({
        delaySeconds: z
          .int()
          .min(0)
          .max(3600)
          .default(5)
          .describe('Time for which a pod that stops takes new connections still, until every node has heard that it goes.'),
        timeoutSeconds: z.int().min(0).max(86_400).default(30).describe('Time that running requests have to end after that.'),
      })
      .prefault({})
      .describe('How a pod stops.'),
    runtimeRef: RuntimeReference.optional(),
    podTemplate: PodTemplate.optional(),
  })
  .describe('The service that is asked for.');

const ModelFailure = z
  .object({
    time: z.iso.datetime().describe('When it was seen.'),
    pod: z.string().max(253).optional().describe('Pod that failed.'),
    reason: z
      .enum(['ModelLoadFailed', 'RuntimeUnhealthy', 'InvalidSpec'])
      .optional()
      .describe('Kind of the failure, in the words of KServe.'),
    exitCode: z.int().min(0).max(255).optional().describe('Exit code of the container.'),
    code: z.string().max(64).optional().describe('Error code; docs/errors.md has its cause and remedy.'),
    message: z.string().max(4096).describe('What happened.'),
    remedy: z.string().max(1024).optional().describe('What to do.'),
  })
  .describe('The newest failure to serve the target.');

const Startup = z
  .object({
    pod: z.string().max(253).describe('The pod.'),
    node: z.string().max(253).optional().describe('Its node.'),
    phase: z
      .enum(['waiting', 'fetching', 'verifying', 'loading', 'ready'])
      .describe('What it does; `waiting`: another pod of its node fetches the model.'),
    bytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Bytes that the node has of the model.'),
    totalBytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Bytes of the model.'),
    bytesPerSecond: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Speed of the fetching.'),
    etaSeconds: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Time until the node has all of it.'),
    trouble: z.string().max(1024).optional().describe('Why the fetching is tried again.'),
  })
  .describe('A pod on its way to its first answer.');

const ModelState = z.enum(['Pending', 'Loading', 'Loaded', 'FailedToLoad']).describe('How far a model is.');

export const InferenceServiceStatus = z
  .object({
    observedGeneration: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .optional()
      .describe('Generation of the spec that this status is about.'),
    conditions: Conditions.optional(),
    url: z.string().max(2048).optional().describe('Where the service answers.'),
    replicas: z.int().min(0).max(2_147_483_647).optional().describe('Pods that exist.'),
    readyReplicas: z.int().min(0).max(2_147_483_647).optional().describe('Pods that answer.'),
    labelSelector: z.string().max(1024).optional().describe('Selector of the pods, for the scale subresource.'),
    model: z
      .object({
        active: z.string().max(4096).optional().describe('What is served now: a ModelVersion or a path.'),
        target: z.string().max(4096).optional().describe('What shall be served.'),
        state: z.enum(['Waiting', 'Loading', 'Serving', 'Failed']).describe('How far the target is.'),
        lastServed: z
          .object({
            target: z.string().max(4096).describe('The ModelVersion or path.'),
            revision: z.string().max(16).describe('Revision of its pods.'),
          })
          .optional()
          .describe(
            'What all pods served when they last were of one revision and answered: what to go back to if the target fails.',
          ),
        pinned: z.string().max(63).optional().describe('ModelVersion that fromTrainingJob with follow: false stays with.'),
        transitionStatus: z
          .enum(['UpToDate', 'InProgress', 'BlockedByFailedLoad', 'InvalidSpec'])
          .optional()
          .describe('Whether what is served is what shall be, in the words of KServe.'),
        states: z
          .object({
            activeModelState: ModelState.optional(),
            targetModelState: ModelState.optional(),
          })
          .optional()
          .describe('States of the model that is served and of the target, in the words of KServe.'),
        copies: z
          .object({
            totalCopies: z.int().min(0).max(2_147_483_647).describe('Pods of the target that answer.'),
            failedCopies: z.int().min(0).max(2_147_483_647).describe('Pods of the target whose engine failed.'),
          })
          .optional()
          .describe('Pods that hold the target.'),
        startups: z
          .array(Startup)
          .max(64)
          .optional()
          .describe('Pods of the target that do not answer yet, and how far each is.')
          .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['pod'] }),
        lastFailure: ModelFailure.optional(),
      })
      .optional()
      .describe('The model that is served and the one that shall be.'),
    rollout: z
      .object({
        revision: z.string().max(16).describe('Revision that pods shall be of: the hash of all that they are made from.'),
        replicas: z.int().min(0).max(2_147_483_647).describe('Pods that shall be of it.'),
        readyReplicas: z.int().min(0).max(2_147_483_647).describe('Pods of it that answer.'),
        madeReplicas: z
          .int()
          .min(0)
          .max(2_147_483_647)
          .optional()
          .describe('Most pods of it that there were at once since it began.'),
        progressTime: z.iso.datetime().describe('When it began, or when another pod of it was made or became ready.'),
      })
      .optional()
      .describe('How far the pods are replaced.'),
    effective: Effective.optional(),
    restartRequest: z
      .string()
      .max(64)
      .optional()
      .describe('Request for a restart, by the annotation windlass.dev/restart-requested-at, that was carried out last.'),
    summary: z
      .object({ ready: z.string().max(32).optional().describe('Ready and wanted pods.') })
      .optional()
      .describe('The state in the words of `kubectl get`.'),
  })
  .describe('Where the service is.');
export type InferenceServiceStatus = z.output<typeof InferenceServiceStatus>;

export const InferenceService = defineResource({
  kind: 'InferenceService',
  plural: 'inferenceservices',
  shortNames: ['isvc'],
  description: 'Serves a model over HTTP and replaces it with the next version.',
  nameMaxLength: 45,
  spec: Spec,
  status: InferenceServiceStatus,
  scale: {
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas',
    labelSelectorPath: '.status.labelSelector',
  },
  printerColumns: [
    { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
    { name: 'Replicas', type: 'string', jsonPath: '.status.summary.ready' },
    { name: 'Model', type: 'string', jsonPath: '.status.model.active' },
    { name: 'URL', type: 'string', jsonPath: '.status.url' },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Reason', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].reason', priority: 1 },
    { name: 'Target', type: 'string', jsonPath: '.status.model.target', priority: 1 },
  ],
  example: { metadata: { name: 'moby' }, spec: { model: { name: 'moby' } } },
});
export type InferenceService = ObjectOf<typeof InferenceService>;
