// What ranks, agents and the operator tell each other: IPC between a rank and its agent, progress over the bus (may be lost), and the last
// words of a pod (may not).
import { z } from 'zod';

const seconds = z.number().min(0);

/** What the time of a rank process went to, since it began. */
export const RankClock = z.object({
  /** When it began: tells one process from the next. */
  started: z.string().max(64),
  /** Before the first step. */
  preparing: seconds,
  stepping: seconds,
  evaluating: seconds,
  /** Time in which steps waited for a checkpoint. */
  checkpointing: seconds,
  /** Steps done. */
  steps: z.int().min(0),
});
export type RankClock = z.output<typeof RankClock>;

/** What comes from a server, or goes to one. */
export const Transfer = z.object({
  bytes: z.int().min(0),
  /** Where the server says so. */
  totalBytes: z.int().min(0).optional(),
  bytesPerSecond: z.int().min(0).optional(),
  etaSeconds: z.int().min(0).optional(),
  /** Why it is tried again, until it goes on. */
  trouble: z.string().max(1024).optional(),
});
export type Transfer = z.output<typeof Transfer>;

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
  transfer: Transfer.optional(),
  /** Text generated during training, newest only. */
  sample: z.string().optional(),
  rssBytes: z.number().optional(),
  clock: RankClock.optional(),
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
  /** Folder on a server that a copy lies in. */
  url: z.string().max(2048).optional(),
  /** Why there is no copy, where one was asked for. */
  copyFault: z.object({ code: z.string(), message: z.string().max(600), remedy: z.string() }).optional(),
});
export type PublishedModel = z.output<typeof PublishedModel>;

/** What `/startup` of a serving process answers: how far it is on its way to its first request. */
export const Startup = z.object({
  /** `waiting`: another pod of the node fetches the model. */
  phase: z.enum(['waiting', 'fetching', 'verifying', 'loading', 'ready']),
  /** Bytes of the model that are on the node, while it is fetched. */
  bytes: z.number().min(0).optional(),
  totalBytes: z.number().min(0).optional(),
  bytesPerSecond: z.number().min(0).optional(),
  etaSeconds: z.number().min(0).optional(),
  /** Why the fetching is tried again. */
  trouble: z.string().max(1024).optional(),
});
export type Startup = z.output<typeof Startup>;

/** The last words of a container, at most 4,096 bytes of JSON in its termination log. */
export const TerminationMessage = z.object({
  code: z.string().optional(),
  message: z.string().optional(),
  remedy: z.string().optional(),
  rank: z.int().optional(),
  step: z.int().optional(),
  /** Name of the signal that ended the rank. */
  signal: z.string().optional(),
  /** Rule of the job that the end was decided by. */
  rule: z.string().optional(),
  /** In-place restarts that this pod's ranks used; they count against the job's budget. */
  restarts: z.int().optional(),
  logTail: z.string().optional(),
  published: PublishedModel.optional(),
  progress: Progress.optional(),
});
export type TerminationMessage = z.output<typeof TerminationMessage>;

/** What a rank does. Time-outs of a hang count while every rank is `stepping`; other phases have longer limits of their own. */
export const RankPhase = z.enum(['preparing', 'stepping', 'evaluating', 'checkpointing', 'publishing']);
export type RankPhase = z.output<typeof RankPhase>;

/** Newest collective of a rank in a group: `waiting` is one that the rank has entered and not left. */
export const CollectiveState = z.object({
  group: z.string().max(64),
  /** Counts the operations of the group, so that equal numbers mean the same operation on every rank. */
  sequence: z.int().min(0),
  operation: z.string().max(64),
  /** Call site, as given to the collective: `block 3 gradient`. */
  site: z.string().max(128),
  state: z.enum(['waiting', 'done']),
});
export type CollectiveState = z.output<typeof CollectiveState>;

/** How a rank is; it says so each second. */
export const Heartbeat = z.object({
  /** Step that the rank is in, or did last. */
  step: z.int().min(0),
  phase: RankPhase,
  /** What it does where that is not a step, and how far it is: a change shows that it advances. */
  activity: z.string().max(64).optional(),
  /** Newest collective of each group. */
  collectives: z.array(CollectiveState).max(16),
  rssBytes: z.number().min(0),
  /** Median time of the newest whole steps. */
  stepMs: z.number().min(0).optional(),
  /** Median of the part of a step in which the rank did not wait for others; a straggler is told by it. */
  computeMs: z.number().min(0).optional(),
  /** Ranks of the same name do the same work, such as those of one stage; a straggler is told among them. */
  cohort: z.string().max(64).optional(),
  /** Steps that the medians are taken over, at most 20. */
  measuredSteps: z.int().min(0).default(0),
});
export type Heartbeat = z.output<typeof Heartbeat>;

/** The ranks of an epoch, as each of them is told. */
export const World = z.object({
  /** Counts the worlds of an attempt; part of every key of communication. */
  epoch: z.int().min(0),
  worldSize: z.int().min(1),
  rank: z.int().min(0),
  /** Where each rank's communicator listens. */
  endpoints: z.array(z.string().max(512)),
  /** Authenticates the ranks of this epoch to each other. */
  secret: z.string(),
  /** Longest time that a collective may take. */
  deadlineMs: z.number(),
});
export type World = z.output<typeof World>;

/** What a rank process says to its agent (one JSON object per IPC message). */
export const RankMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('progress'), progress: Progress }),
  z.object({ type: z.literal('published'), model: PublishedModel }),
  z.object({ type: z.literal('failed'), code: z.string(), message: z.string(), remedy: z.string(), step: z.int().optional() }),
  /** The rank's communicator listens; answered with `world` when all ranks do. */
  z.object({ type: z.literal('endpoint'), endpoint: z.string().max(512) }),
  z.object({ type: z.literal('heartbeat'), heartbeat: Heartbeat }),
  /** Answers `halt`: the newest step that the rank has begun; it begins no other until it is told `stop`. -1: none yet. */
  z.object({ type: z.literal('halted'), step: z.int().min(-1) }),
]);
export type RankMessage = z.output<typeof RankMessage>;

/** What an agent says to its rank process. */
export const AgentMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('world'), world: World }),
  /** Asks how far the rank is, so that all can stop after the same step. */
  z.object({ type: z.literal('halt') }),
  /** Save after this step and end. It is the newest step that any rank has begun. */
  z.object({ type: z.literal('stop'), step: z.int().min(-1) }),
]);
export type AgentMessage = z.output<typeof AgentMessage>;

/** Entries of a report that are lists have at most this many members. */
export const maxReportedRanks = 64;

/** One rank in a progress report. */
export const RankReport = z.object({
  rank: z.int(),
  pod: z.string(),
  /** `lost`: its agent is out of reach; `silent`: its agent hears nothing from it. */
  state: z.enum(['starting', 'running', 'silent', 'lost', 'ended']),
  step: z.int().optional(),
  phase: RankPhase.optional(),
  rssBytes: z.number().optional(),
  stepMs: z.number().optional(),
  /** The collective that the rank waits in, or left last. */
  collective: CollectiveState.optional(),
});
export type RankReport = z.output<typeof RankReport>;

/** The newest fault of a running job. */
export const FaultReport = z.object({
  time: z.string(),
  /** World that the fault ended. */
  epoch: z.int(),
  rank: z.int().optional(),
  pod: z.string().optional(),
  exitCode: z.int().optional(),
  signal: z.string().optional(),
  code: z.string().optional(),
  step: z.int().optional(),
  /** The collective concerned, if there is one. */
  operation: z.string().optional(),
  site: z.string().optional(),
  /** All of it in words: what happened to which rank, and what was done. */
  message: z.string().max(1024),
  remedy: z.string().max(1024).optional(),
  /** Rule of the job that decided on it. */
  rule: z.string().max(63).optional(),
  /** Whether the restart counts against the budget; it does if absent. */
  charged: z.boolean().optional(),
  /** Last log lines of the rank. */
  logTail: z.string().max(4096).optional(),
});
export type FaultReport = z.output<typeof FaultReport>;

/** Bus payload on `wl.v1.<namespace>.<name>.progress`. The agent of pod 0 reports for all ranks. */
export const ProgressReport = z.object({
  uid: z.string(),
  attempt: z.int(),
  rank: z.int(),
  pod: z.string(),
  time: z.string(),
  restarts: z.int(),
  progress: Progress,
  epoch: z.int().optional(),
  /** Ranks of the present world; an elastic job may have fewer than pods. */
  worldSize: z.int().optional(),
  /** The first 64 ranks. */
  ranks: z.array(RankReport).max(maxReportedRanks).optional(),
  /** Pods that wait because the world has no place for them. */
  standby: z.array(z.string()).max(maxReportedRanks).optional(),
  fault: FaultReport.optional(),
  /** A rank that is much slower than the others, in words. */
  straggler: z.string().max(1024).optional(),
});
export type ProgressReport = z.output<typeof ProgressReport>;
