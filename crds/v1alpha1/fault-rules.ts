// Rules of a TrainingJob for its faults: what a fault must be like, and what is done about it. The first rule that fits decides.
import { z } from 'zod';

const rangePattern = /^[0-9]{1,4}-[0-9]{1,4}$/;

/** A number or a range of them: 137, "64-78". Both ends belong to it. */
const numbers = (description: string) =>
  z
    .array(
      z
        .union([
          z.int().min(0).max(Number.MAX_SAFE_INTEGER),
          z.string().max(9).regex(rangePattern, 'must be a number, or a range such as "64-78"'),
        ])
        .describe('A number, or a range such as "64-78".')
        .meta({ 'x-kubernetes-int-or-string': true, pattern: rangePattern.source, maxLength: 9 }),
    )
    .min(1)
    .max(32)
    .optional()
    .describe(description);

/** Why a pod ended, or does not come up, where Kubernetes says so. */
const faultReasons = [
  'OOMKilled',
  'Evicted',
  'Preempted',
  'Drained',
  'NodeLost',
  'PodDeleted',
  'ImagePull',
  'Unschedulable',
  'NotReady',
] as const;
export type FaultReason = (typeof faultReasons)[number];

const faultSignals = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGKILL',
  'SIGUSR1',
  'SIGSEGV',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGXCPU',
  'SIGXFSZ',
] as const;

const faultActions = ['RestartRank', 'RestartPod', 'RestartGang', 'ExcludeNode', 'Fail', 'Ignore'] as const;
export type FaultAction = (typeof faultActions)[number];

const FaultRule = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(63)
      .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'must be lower-case letters, digits and "-"')
      .describe('Name of the rule, shown in status.lastFailure.rule.'),
    exitCodes: numbers('Exit codes of the rank, or of its container where that ended by itself: 137 or "64-78".'),
    signals: z
      .array(z.enum(faultSignals).describe('A signal.'))
      .min(1)
      .max(17)
      .optional()
      .describe('Signals that ended the rank or its container.'),
    reasons: z
      .array(z.enum(faultReasons).describe('A reason.'))
      .min(1)
      .max(9)
      .optional()
      .describe(
        'Why Kubernetes ended the pod. ImagePull, Unschedulable and NotReady are of pods that do not come up; only rules that name them apply to such pods.',
      ),
    codes: z
      .array(
        z
          .string()
          .max(64)
          .regex(/^WL_[A-Z0-9_]+$/, 'must be an error code such as WL_DISK_FULL')
          .describe('An error code.'),
      )
      .min(1)
      .max(32)
      .optional()
      .describe('Error codes that the rank told, see docs/errors.md.'),
    log: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe(
        'Text that a line of the last log lines, or the message of the fault, contains. A * stands for any text within the line. Case counts.',
      ),
    ranks: numbers('Ranks that the rule is for: 0 or "8-15". All if absent.'),
    afterSeconds: z
      .int()
      .min(0)
      .max(604_800)
      .optional()
      .describe('For pods that do not come up: how long that must hold. 300 if absent.'),
    action: z
      .enum(faultActions)
      .describe(
        'RestartRank starts the ranks again in their pods, RestartPod replaces the pod, RestartGang all pods; ExcludeNode replaces the pod and keeps the job away from its node; Fail fails the job; Ignore restarts free of charge.',
      ),
  })
  .describe('A rule. All that it gives must fit the fault; of lists, one member.');
export type FaultRule = z.output<typeof FaultRule>;

/** The rules of a job, in order. */
export const FaultRules = z
  .array(FaultRule)
  .max(32)
  .refine((rules) => new Set(rules.map(({ name }) => name)).size === rules.length, 'rules must have different names')
  .describe('What is done about faults: the first rule that fits decides. What no rule fits is decided as docs/failures.md says.')
  .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] });
