// Status of a TrainingJob: where the training is, what it resumes from, what went wrong last, and what it resolved.
import { z } from 'zod';
import { Conditions } from '../conditions.ts';
import { Effective } from './effective.ts';
import { PodSet } from './pod-sets.ts';

const maxInteger = Number.MAX_SAFE_INTEGER;
const counter = (description: string) => z.int().min(0).max(maxInteger).optional().describe(description);
const measure = (description: string) => z.number().optional().describe(description);
const time = (description: string) => z.iso.datetime().optional().describe(description);
const word = (max: number, description: string) => z.string().max(max).optional().describe(description);

const TrainingProgress = z
  .object({
    step: counter('Steps done.'),
    steps: counter('Steps asked for.'),
    loss: measure('Loss of the newest step, in nats per token.'),
    heldOutLoss: measure('Newest loss on held-out data, in nats per token.'),
    learningRate: measure('Learning rate of the newest step.'),
    gradientNorm: measure('Global gradient norm of the newest step, before clipping.'),
    tokensPerSecond: measure('Tokens trained per second.'),
    peakShare: measure('Share of the measured peak of the machine, 0 to 1.'),
    etaSeconds: measure('Seconds to the last step, as it goes now.'),
    phase: word(64, 'What the ranks do when they are not stepping, such as tokenizing.'),
    phaseShare: measure('Share of the phase that is done, 0 to 1.'),
    transfer: z
      .object({
        bytes: counter('Bytes that are over.'),
        totalBytes: counter('Bytes of all, where the server says so.'),
        bytesPerSecond: counter('Speed.'),
        etaSeconds: counter('Seconds to the end at that speed.'),
        trouble: word(1024, 'Why it is tried again.'),
      })
      .optional()
      .describe('What comes from or goes to a server in this phase.'),
    sample: word(4096, 'Newest text generated during training.'),
    rssBytes: counter('Resident memory of the rank.'),
    time: time('When this was written.'),
  })
  .describe('Progress of the training, at most 10 seconds old while it runs.');
export type TrainingProgress = z.output<typeof TrainingProgress>;

const PodFailure = z
  .object({
    time: z.iso.datetime().describe('When it was seen.'),
    attempt: counter('Attempt that failed.'),
    rank: counter('Rank that failed first.'),
    pod: word(253, 'Pod that failed.'),
    node: word(253, 'Node that the pod ran on.'),
    exitCode: z.int().min(0).max(255).optional().describe('Exit code of the container.'),
    signal: z.int().min(1).max(64).optional().describe('Signal that ended the container.'),
    code: word(64, 'Error code; docs/errors.md has its cause and remedy.'),
    message: word(4096, 'What happened.'),
    remedy: word(1024, 'What to do.'),
    reason: word(64, 'Why Kubernetes ended the pod or does not start it, such as OOMKilled.'),
    rule: word(64, 'Rule that decided on the action: of spec.faults.rules, or a built-in one.'),
    action: word(64, 'What was done: RestartRank by the agents; RestartPod, RestartGang, ExcludeNode or Fail by the controller.'),
    charged: z.boolean().optional().describe('Whether it counts against faults.maxRestarts.'),
    step: counter('Step at which it happened.'),
    operation: word(64, 'Operation between ranks that it happened in, such as allReduce.'),
    site: word(128, 'Where in the program that operation was called.'),
    logTail: word(4096, 'Last lines of the log.'),
  })
  .describe('The newest failure of a pod.');
export type PodFailure = z.output<typeof PodFailure>;

/** Ranks that the status lists: those of a larger job are in the reports of its agents. */
const maxListedRanks = 64;

/** As many as a job may have ranks. */
export const maxReplaced = 1024;

/** Nodes that a job keeps away from; the oldest makes room. */
export const maxExcludedNodes = 32;

const RankStatus = z
  .object({
    rank: z.int().min(0).max(maxInteger).describe('Number of the rank.'),
    pod: word(253, 'Pod that it runs in.'),
    step: counter('Steps done.'),
    state: word(32, 'How it is: starting, running, silent, lost or ended.'),
    phase: word(64, 'What it does when it is not stepping, such as checkpointing.'),
    bytes: counter('Resident memory of its process.'),
  })
  .describe('A rank.');

const Summary = z
  .object({
    ranks: word(32, 'Ready and wanted ranks.'),
    step: word(48, 'Step and steps.'),
    loss: word(32, 'Loss.'),
    heldOutLoss: word(32, 'Held-out loss.'),
    tokensPerSecond: word(32, 'Tokens per second.'),
    eta: word(32, 'Time to the end.'),
  })
  .describe('Progress in the words of `kubectl get`.');

const Goodput = z
  .object({
    ratio: measure('Productive time over all time, 0 to 1.'),
    seconds: measure('Time since the start, without suspensions.'),
    productiveSeconds: measure('Time of steps that were done for the first time.'),
    lost: z
      .object({
        waiting: measure('For room in the cluster: no node, quota or volume.'),
        starting: measure('Until the first step.'),
        restarting: measure('From a fault to the next step.'),
        repeating: measure('Steps that had been done before a fault.'),
        checkpointing: measure('Steps that waited for a checkpoint.'),
        evaluating: measure('Evaluation and samples.'),
        hanging: measure('Until a hang was found.'),
        other: measure('All that nobody told what it went to.'),
      })
      .optional()
      .describe('The rest of the time in seconds, by cause.'),
    newestStep: counter('Newest step that was ever done.'),
    until: time('Up to when the time is accounted for.'),
    clock: z
      .object({
        started: word(64, 'When its process began.'),
        preparing: measure('Seconds before its first step.'),
        stepping: measure('Seconds in steps.'),
        evaluating: measure('Seconds of evaluation and samples.'),
        checkpointing: measure('Seconds in which steps waited for a checkpoint.'),
        steps: counter('Steps done by it.'),
      })
      .optional()
      .describe('What rank 0 told last of its own time.'),
  })
  .describe('What the time of the job went to.');
export type Goodput = z.output<typeof Goodput>;

const TrainingJobState = ['Pending', 'Starting', 'Running', 'Restarting', 'Suspended', 'Succeeded', 'Failed'] as const;

export const TrainingJobStatus = z
  .object({
    observedGeneration: counter('Generation of the spec that this status is about.'),
    conditions: Conditions.optional(),
    state: z.enum(TrainingJobState).optional().describe('The state in one word.'),
    attempt: counter('Counter of gang restarts, from 0. Pods of a lower attempt are stale.'),
    restarts: counter('Restarts after faults, of pods and of ranks in place.'),
    inPlaceRestarts: counter('Those of them that the pod of the newest attempt did itself.'),
    faultsInARow: counter('Faults since the last step that was new; each one doubles the wait before the next restart.'),
    restartRequest: word(
      64,
      'Request for a restart, by the annotation windlass.dev/restart-requested-at, that was carried out last.',
    ),
    nextRestartTime: time('When the next restart is due, while waiting for it.'),
    epoch: counter('Counter of the times that the ranks of this attempt came together anew.'),
    world: counter('Ranks that the job consists of; differs from parallelism only while it is elastic.'),
    ranks: z
      .array(RankStatus)
      .max(maxListedRanks)
      .optional()
      .describe('What each rank does, as far as reported: the first 64.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['rank'] }),
    straggler: word(1024, 'A rank that is much slower than the others, in words, while there is one.'),
    replacing: z
      .array(z.string().max(64).describe('uid of a pod.'))
      .max(maxReplaced)
      .optional()
      .describe('Lost pods of this attempt that are counted and make room for new ones.'),
    excludedNodes: z
      .array(z.string().max(253).describe('Name of a node.'))
      .max(maxExcludedNodes)
      .optional()
      .describe('Nodes that rules of action ExcludeNode keep the pods away from, until the job is suspended.'),
    readyRanks: counter('Ranks whose pod is ready.'),
    startTime: time('When the job started, or went on after a suspension.'),
    completionTime: time('When the job ended.'),
    progress: TrainingProgress.optional(),
    checkpoint: z
      .object({ step: counter('Step that it holds.'), time: time('When it was reported.') })
      .optional()
      .describe('Newest checkpoint that is safe on disk.'),
    lastFailure: PodFailure.optional(),
    modelVersion: word(63, 'ModelVersion that the job published.'),
    effective: Effective.optional(),
    podSets: z
      .array(PodSet)
      .max(8)
      .optional()
      .describe('What the job asks of the cluster, also while it is suspended.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
    goodput: Goodput.optional(),
    summary: Summary.optional(),
  })
  .describe('Where the training is.');
export type TrainingJobStatus = z.output<typeof TrainingJobStatus>;
