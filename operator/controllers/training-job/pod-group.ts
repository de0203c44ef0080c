// The gang of a TrainingJob for the scheduler: a PodGroup for each attempt, made before the first pod, so that all pods get a place or none.
//
// One for each attempt, because "placed as a whole" is said of a group once and for good, and because pods of an earlier attempt that still
// end would be counted as placed.
import { createHash } from 'node:crypto';
import type { ConditionChange } from '#crds/conditions.ts';
import { label, managedBy } from '#crds/names.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import { placement } from '#operator/kube/pod-group.ts';
import type { PodGroup } from '#operator/kube/pod-group.ts';
import { controllerReference } from '../pod-shell.ts';
import type { Action, Observed } from './decision.ts';
import { attemptOf, fewestRanks, podsOf } from './pods.ts';

/** What a job's pods need before they are made. */
export interface Grouping {
  /** Group that the pods carry, if any. */
  readonly name?: string | undefined;
  readonly actions: readonly Action[];
  /** Why no pod may be made yet. */
  readonly waits?: { readonly reason: string; readonly message: string };
  readonly conditions: readonly ConditionChange[];
}

const unsupported = 'the cluster does not serve PodGroup of scheduling.k8s.io/v1beta1';
const remedy =
  'use Kubernetes 1.37 or newer with feature gate GenericWorkload in its API server, controller manager and scheduler, and --runtime-config=scheduling.k8s.io/v1beta1=true';

function groupName(job: TrainingJob, attempt: number): string {
  return `${job.metadata.name}-workers-${attempt}`;
}

/** Whether the job's pods are to be placed as a whole. */
function isGang(job: TrainingJob): boolean {
  return podsOf(job) > 1 && job.spec.scheduling?.schedulingPolicy?.basic === undefined;
}

/** The group of an attempt. The gang is what the job can't go on without. */
function podGroup(job: TrainingJob, attempt: number): PodGroup {
  const { schedulingConstraints, disruptionMode, priorityClassName } = job.spec.scheduling ?? {};
  const spec: PodGroup['spec'] = {
    schedulingPolicy: { gang: { minCount: fewestRanks(job) } },
    ...(schedulingConstraints ? { schedulingConstraints } : {}),
    // Fewer pods than it needs are worth nothing to a job that is not elastic.
    disruptionMode: disruptionMode ?? (job.spec.elastic ? { single: {} } : { all: {} }),
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
  };
  return {
    apiVersion: 'scheduling.k8s.io/v1beta1',
    kind: 'PodGroup',
    metadata: {
      name: groupName(job, attempt),
      ...(job.metadata.namespace === undefined ? {} : { namespace: job.metadata.namespace }),
      labels: {
        [label.managedBy]: managedBy,
        [label.job]: job.metadata.name,
        [label.attempt]: String(attempt),
        // The server fills in what it likes and leaves out what it does not know: this tells what was asked for.
        [label.revision]: createHash('sha256').update(JSON.stringify(spec)).digest('hex').slice(0, 16),
      },
      ownerReferences: [controllerReference(job)],
    },
    spec,
  };
}

/** What there is to do about the group of this attempt, and what is known of it. Pods that are there stay in the group that they were made for. */
export function groupingOf(seen: Observed, attempt: number): Grouping {
  const { job, pods, podGroups, gangs } = seen;
  const made = pods.find((pod) => attemptOf(pod) === attempt);
  const name = made
    ? made.spec.schedulingGroup?.podGroupName
    : isGang(job) && gangs === 'served'
      ? groupName(job, attempt)
      : undefined;
  const stale = podGroups.filter((group) => group.metadata.name !== name && isStanding(group));
  const actions: Action[] = stale.map((group) => ({ type: 'deletePodGroup', group }));
  if (name === undefined) return { actions, ...withoutGroup(seen, made) };

  const wanted = podGroup(job, attempt);
  const group = podGroups.find(({ metadata }) => metadata.name === name);
  const conditions = [conditionOf(group ?? wanted, seen, attempt)];
  if (!group)
    return { name, actions: gangs === 'served' ? [...actions, { type: 'createPodGroup', group: wanted }] : actions, conditions };
  const isWanted = group.metadata.labels?.[label.revision] === wanted.metadata.labels?.[label.revision];
  if (made || (isStanding(group) && isWanted)) return { name, actions, conditions };
  const message = `PodGroup ${name} of an earlier run goes before a new one is made; if it does not, ask kube-controller-manager why: it takes the finalizers of PodGroups away where feature gate GenericWorkload is on`;
  return {
    name,
    actions: isStanding(group) ? [...actions, { type: 'deletePodGroup', group }] : actions,
    waits: { reason: 'PodGroupEnding', message },
    conditions,
  };
}

/** Groups of a job that stops its pods: gone with them, since what it asks for may change before it goes on. */
export function endGroups({ job, podGroups }: Observed): Pick<Grouping, 'actions' | 'conditions'> {
  const isKnown = job.status?.conditions?.some(({ type }) => type === 'GangScheduled');
  return {
    actions: podGroups.filter(isStanding).map((group) => ({ type: 'deletePodGroup', group })),
    conditions: isKnown
      ? [{ type: 'GangScheduled', status: 'Unknown', reason: 'Suspended', message: 'there are no pods to place' }]
      : [],
  };
}

/** What the scheduler says against the gang, if it does. */
export function groupTrouble(seen: Observed, attempt: number): { reason: string; message: string } | undefined {
  const group = seen.podGroups.find(({ metadata }) => metadata.labels?.[label.attempt] === String(attempt));
  const placed = group && placementOf(group, seen, attempt);
  if (placed?.status !== 'False') return undefined;
  const { reason, message } = placed;
  const what = `no place for a gang of ${minCountOf(group!)} pods (PodGroup ${group!.metadata.name}): ${message}`;
  const pod = podsOfAttempt(seen, attempt).find((pod) => isSpecific(refusalOf(pod)));
  if (pod && refusalOf(pod) !== message) return { reason, message: `${what}; pod ${pod.metadata.name}: ${refusalOf(pod)}` };
  if (reason !== 'SchedulerError') return { reason, message: what };
  // Kubernetes 1.37 hides behind an error of its own that a claim is missing.
  const { jobsClaim, modelsClaim } = seen.job.status?.effective ?? {};
  return { reason, message: `${what}; see whether the claims exist that the pods mount: ${jobsClaim} and ${modelsClaim}` };
}

/**
 * Where the gang is now. The group's own condition says so only of its first time, and may turn to False while the rest of an elastic gang finds
 * no place. Without any, the scheduler does not know gangs.
 */
function placementOf(
  group: PodGroup,
  seen: Observed,
  attempt: number,
): { status: ConditionChange['status']; reason: string; message: string } {
  const first = placement(group);
  const message = `the scheduler has said nothing of the gang yet; it places none if its feature gate GenericWorkload is off`;
  const waits = { status: 'Unknown', reason: 'Waiting', message } as const;
  if (!first) return waits;
  const pods = podsOfAttempt(seen, attempt);
  if (pods.filter(({ spec }) => spec.nodeName !== undefined).length >= minCountOf(group))
    return { status: 'True', reason: 'Placed', message: 'placed as a whole' };
  if (first.status !== 'True') {
    const { status, reason = 'Unschedulable', message: why = 'the scheduler does not say why' } = first;
    return { status, reason, message: why };
  }
  const refused = pods.map(refusalOf).filter((refusal) => refusal !== undefined);
  if (refused.length === 0) return waits;
  return { status: 'False', reason: 'Unschedulable', message: refused.find((refusal) => !isSpecific(refusal)) ?? refused[0]! };
}

const minCountOf = (group: PodGroup) => group.spec.schedulingPolicy.gang.minCount;
const podsOfAttempt = ({ pods }: Observed, attempt: number) => pods.filter((pod) => attemptOf(pod) === attempt);

/** What the scheduler says against a pod. */
function refusalOf(pod: Pod): string | undefined {
  return pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False')?.message;
}

/** Most pods of a gang only say that the gang has no place; one says what it lacks. */
function isSpecific(refusal: string | undefined): boolean {
  return refusal !== undefined && !refusal.includes('minCount') && !refusal.includes('PodGroup');
}

function withoutGroup(seen: Observed, made: Pod | undefined): Pick<Grouping, 'waits' | 'conditions'> {
  const { job, gangs } = seen;
  if (!isGang(job) || gangs === 'unneeded') {
    const told = job.status?.conditions?.some(({ type, reason }) => type === 'GangScheduled' && reason !== 'NotAsked');
    const message = 'the pods are placed one by one';
    return { conditions: told ? [{ type: 'GangScheduled', status: 'False', reason: 'NotAsked', message }] : [] };
  }
  // The same words before and after the pods are made: a message that changes is a write for every job.
  const early = made && gangs === 'served' ? 'they were made while ' : '';
  const isDemanded = job.spec.scheduling?.schedulingPolicy?.gang !== undefined && !made;
  const what = isDemanded
    ? `the job waits, as ${unsupported} and scheduling.schedulingPolicy.gang asks for it`
    : `the pods are placed one by one, as ${early}${unsupported}; jobs that fit alone but not together may wait for each other`;
  const message = `${what}. For gangs, ${remedy}${isDemanded ? '; or leave out schedulingPolicy' : ''}.`;
  return {
    conditions: [{ type: 'GangScheduled', status: 'False', reason: 'NotSupportedByCluster', message }],
    ...(isDemanded ? { waits: { reason: 'GangNotSupported', message } } : {}),
  };
}

function conditionOf(group: PodGroup, seen: Observed, attempt: number): ConditionChange {
  const placed = placementOf(group, seen, attempt);
  const message = `PodGroup ${group.metadata.name}: ${placed.message}`;
  if (placed.status !== 'True' || !seen.job.spec.scheduling?.schedulingConstraints || group.spec.schedulingConstraints)
    return { type: 'GangScheduled', ...placed, message };
  const advice = 'turn feature gate TopologyAwareWorkloadScheduling on in the API server and the scheduler';
  return {
    type: 'GangScheduled',
    status: 'True',
    reason: 'TopologyIgnored',
    message: `${message}, but anywhere: the cluster leaves schedulingConstraints out; ${advice}`,
  };
}

const isStanding = ({ metadata }: PodGroup) => metadata.deletionTimestamp === undefined;
