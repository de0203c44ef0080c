// What ranks and agents tell the operator: progress over the bus (may be lost), and the last words of a pod (may not).
import { z } from 'zod';

/** Progress of training after a step. Losses in nats per token. */
export const Progress = z.object({
  step: z.int(),
  steps: z.int(),
  loss: z.number().optional(),
  heldOutLoss: z.number().optional(),
  learningRate: z.number().optional(),
  gradientNorm: z.number().optional(),
  tokensPerSecond: z.number().optional(),
  /** Share of the machine's measured FMA peak, 0 to 1. */
  peakShare: z.number().optional(),
  etaSeconds: z.number().optional(),
  /** Step of the newest checkpoint that is safe on disk. */
  checkpointStep: z.int().optional(),
  /** What the rank does when it is not stepping: 'tokenizing', 'resuming', 'evaluating', 'checkpointing', 'exporting'. */
  phase: z.string().optional(),
  /** Share of `phase` that is done, 0 to 1. */
  phaseShare: z.number().optional(),
  /** Text generated during training, newest only. */
  sample: z.string().optional(),
  rssBytes: z.number().optional(),
});
export type Progress = z.output<typeof Progress>;

/** A model version as a finished job publishes it. */
export const PublishedModel = z.object({
  /** Path below WL_MODELS_DIR. */
  path: z.string(),
  /** sha256 over the sorted list of `<sha256>  <file>\n` lines of the folder. */
  digest: z.string(),
  format: z.literal('huggingface'),
  architecture: z.string(),
  parameters: z.int(),
  contextLength: z.int(),
  vocabularySize: z.int(),
  step: z.int(),
  bytes: z.int(),
  metrics: z.record(z.string(), z.number()),
});
export type PublishedModel = z.output<typeof PublishedModel>;

/** The last words of a container, at most 4,096 bytes of JSON in its termination log. */
export const TerminationMessage = z.object({
  code: z.string().optional(),
  message: z.string().optional(),
  remedy: z.string().optional(),
  rank: z.int().optional(),
  step: z.int().optional(),
  /** In-place restarts that this pod's ranks used; they count against the job's budget. */
  restarts: z.int().optional(),
  logTail: z.string().optional(),
  published: PublishedModel.optional(),
  progress: Progress.optional(),
});
export type TerminationMessage = z.output<typeof TerminationMessage>;

/** What a rank process says to its agent (one JSON object per IPC message). */
export const RankMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('progress'), progress: Progress }),
  z.object({ type: z.literal('published'), model: PublishedModel }),
  z.object({ type: z.literal('failed'), code: z.string(), message: z.string(), remedy: z.string(), step: z.int().optional() }),
]);
export type RankMessage = z.output<typeof RankMessage>;

/** Bus payload on `wl.v1.<namespace>.<name>.progress`. */
export const ProgressReport = z.object({
  uid: z.string(),
  attempt: z.int(),
  rank: z.int(),
  pod: z.string(),
  time: z.string(),
  restarts: z.int(),
  progress: Progress,
});
export type ProgressReport = z.output<typeof ProgressReport>;
