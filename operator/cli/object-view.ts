// A job or a service as the view shows it: from its object, with the newest report of its ranks laid over it where there is one. Pure.
import { isConditionTrue } from '#crds/conditions.ts';
import type { Condition } from '#crds/conditions.ts';
import type { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Progress, ProgressReport, RankReport } from '#runtime/api/messages.ts';
import { faultText } from './fault-text.ts';
import type { Healing } from './fault-text.ts';
import type { LossCurve } from './loss-curve.ts';
import type { RankView } from './rank-lines.ts';
import type { JobView, ServiceView } from './view.ts';

/** What the reports of a job's ranks add up to. */
export interface Newest {
  progress: Partial<Progress>;
  restarts: number;
  losses: LossCurve;
  report: ProgressReport;
  healing: Healing | undefined;
}

/** A job as its status and the newest report tell it. */
export function jobView(job: TrainingJob, newest?: Newest): JobView {
  const status = job.status ?? {};
  const { phase, phaseShare, transfer, ...recorded } = status.progress ?? {};
  const progress = { ...recorded, ...(newest ? newest.progress : { phase, phaseShare, transfer }) } as Partial<Progress>;
  const failed = status.state === 'Failed';
  const running = status.state === 'Running';
  const message = messageOf(status.conditions, failed ? 'Failed' : 'Ready');
  const savedAt = progress.checkpointStep ?? (newest ? undefined : status.checkpoint?.step);
  const logTail = failed ? status.lastFailure?.logTail : undefined;
  return {
    name: job.metadata.name,
    state: isResuming(job) ? 'Pending' : (status.state ?? 'Pending'),
    ...(status.state === 'Suspended' && isConditionTrue(job, 'Reconciling') ? { stopping: true } : {}),
    step: progress.step ?? 0,
    steps: progress.steps ?? job.spec.task.pretrain?.steps ?? 0,
    restarts: Math.max(status.restarts ?? 0, newest?.restarts ?? 0),
    losses: newest?.losses.values ?? [],
    ...pick(progress, ['loss', 'heldOutLoss', 'tokensPerSecond', 'etaSeconds', 'sample']),
    ...(running ? pick(progress, ['phase', 'phaseShare', 'transfer']) : {}),
    ...(savedAt === undefined ? {} : { checkpointStep: savedAt }),
    ...(message === undefined ? {} : { message }),
    ...(logTail ? { logTail } : {}),
    ...(status.modelVersion === undefined ? {} : { modelVersion: status.modelVersion }),
    ...worldView(job, newest),
  };
}

/** The status is older than the word that the job may go on: a run must not take it for the end. */
function isResuming({ spec, status }: TrainingJob): boolean {
  return status?.state === 'Suspended' && !spec.suspend;
}

/** What the view says of a job of several ranks, and of faults that did not end a job. */
function worldView(job: TrainingJob, newest: Newest | undefined): Partial<JobView> {
  const status = job.status ?? {};
  const [ready = '0', wanted] = status.summary?.ranks?.split('/') ?? [];
  const running = status.state === 'Running';
  const live = running && newest?.report.attempt === (status.attempt ?? 0) ? newest.report : undefined;
  // Who has no way to the reports takes what the controller took over from them.
  const recorded = running && !newest ? status : undefined;
  const ranks = live?.ranks?.map((rank) => rankView(job, rank)) ?? recorded?.ranks?.map((rank) => recordedRank(job, rank));
  const straggler = live?.straggler ?? recorded?.straggler;
  const fault = faultText(status.state === 'Failed' ? undefined : status.lastFailure, newest?.report.fault, newest?.healing);
  return {
    ...(wanted !== undefined && Number(wanted) > 1 ? { rankCount: `${live?.worldSize ?? ready}/${wanted}` } : {}),
    ...(ranks ? { ranks } : {}),
    ...(straggler === undefined ? {} : { straggler }),
    ...(fault === undefined || !running ? {} : { fault }),
  };
}

function rankView(job: TrainingJob, { collective, ...report }: RankReport): RankView {
  const rank = { ...report, pod: shortName(job, report.pod) };
  return collective?.state === 'waiting' ? { ...rank, waitsIn: `${collective.operation}, ${collective.site}` } : rank;
}

export function serviceView(service: InferenceService): ServiceView {
  const status = service.status ?? {};
  const ready = status.conditions?.find(({ type }) => type === 'Ready');
  const message = messageOf(status.conditions, 'Ready');
  return {
    name: service.metadata.name,
    state:
      ready?.status === 'True' ? (status.model?.state === 'Serving' ? 'Ready' : 'Updating') : (status.model?.state ?? 'Waiting'),
    replicas: `${status.readyReplicas ?? 0}/${service.spec.replicas}`,
    ...(status.url === undefined ? {} : { url: status.url }),
    ...(message ? { message } : {}),
  };
}

type RecordedRank = NonNullable<NonNullable<TrainingJob['status']>['ranks']>[number];

function recordedRank(job: TrainingJob, { rank, pod = '', state = '', phase, step, bytes }: RecordedRank): RankView {
  return { rank, pod: shortName(job, pod), state, phase, step, rssBytes: bytes };
}

/** The name of a pod as far as it goes beyond that of the job. */
function shortName({ metadata: { name } }: TrainingJob, pod: string): string {
  return pod.startsWith(`${name}-`) ? pod.slice(name.length + 1) : pod;
}

/** Reasons that say no more than the state does. */
const plainReasons = new Set(['Starting', 'PodsStarting', 'Running', 'Complete', 'Serving', 'Suspended']);

function messageOf(conditions: readonly Condition[] | undefined, type: string): string | undefined {
  const condition = conditions?.find((candidate) => candidate.type === type);
  return condition === undefined || plainReasons.has(condition.reason) ? undefined : condition.message || undefined;
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): { [P in K]?: NonNullable<T[P]> } {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]])) as {
    [P in K]?: NonNullable<T[P]>;
  };
}
