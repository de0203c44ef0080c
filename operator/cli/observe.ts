// What the view needs to know of jobs and services: their objects, with the newest progress reports laid over them.
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Condition } from '#crds/conditions.ts';
import { knownFigures } from '#operator/controllers/progress-source.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import type { EventBus } from '#runtime/api/bus.ts';
import { ProgressReport } from '#runtime/api/messages.ts';
import type { Progress, RankReport } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import { LossCurve } from './loss-curve.ts';
import { faultText, isHealed } from './fault-text.ts';
import type { Healing } from './fault-text.ts';
import type { RankView } from './rank-lines.ts';
import type { JobView, ServiceView } from './view.ts';

interface Newest {
  progress: Partial<Progress>;
  restarts: number;
  losses: LossCurve;
  report: ProgressReport;
  healing: Healing | undefined;
}

export interface Observer {
  readonly look: () => Promise<{ jobs: JobView[]; services: ServiceView[] }>;
  readonly close: () => void;
}

/** Follows the bus; `look` reads the objects. */
export function observe(client: KubeClient, bus: EventBus): Observer {
  const reports = new Map<string, Newest>();
  const close = bus.subscribe(progressSubject('*', '*'), (payload) => {
    const report = ProgressReport.safeParse(payload);
    if (!report.success) return;
    const { uid, attempt, progress, restarts } = report.data;
    const last = reports.get(uid);
    if (last && last.report.attempt > attempt) return;
    const known: Omit<Newest, 'report' | 'restarts'> = last ?? { progress: {}, losses: new LossCurve(), healing: undefined };
    const { phase: _phase, phaseShare: _share, ...kept } = known.progress;
    const news = knownFigures(progress);
    if (news.loss !== undefined && news.step !== undefined) known.losses.add(news.step, news.loss);
    const healing = isHealed(known.healing, report.data);
    reports.set(uid, { progress: { ...kept, ...news }, restarts, losses: known.losses, report: report.data, healing });
  });
  return {
    close,
    async look() {
      const [jobs, services] = await Promise.all([client.list(TrainingJob), client.list(InferenceService)]);
      return {
        jobs: jobs.items.map((job) => jobView(job, reports.get(job.metadata.uid ?? ''))),
        services: services.items.map(serviceView),
      };
    },
  };
}

/** A job as its status and the newest report tell it. */
function jobView(job: TrainingJob, newest: Newest | undefined): JobView {
  const status = job.status ?? {};
  const { phase, phaseShare, ...recorded } = status.progress ?? {};
  const progress = { ...recorded, ...(newest ? newest.progress : { phase, phaseShare }) } as Partial<Progress>;
  const failed = status.state === 'Failed';
  const running = status.state === 'Running';
  const message = messageOf(status.conditions, failed ? 'Failed' : 'Ready');
  const logTail = failed ? status.lastFailure?.logTail : undefined;
  return {
    name: job.metadata.name,
    state: isResuming(job) ? 'Pending' : (status.state ?? 'Pending'),
    step: progress.step ?? 0,
    steps: progress.steps ?? job.spec.task.pretrain?.steps ?? 0,
    restarts: Math.max(status.restarts ?? 0, newest?.restarts ?? 0),
    losses: newest?.losses.values ?? [],
    ...pick(progress, ['loss', 'heldOutLoss', 'tokensPerSecond', 'etaSeconds', 'sample']),
    ...(running ? pick(progress, ['phase', 'phaseShare']) : {}),
    ...(progress.checkpointStep === undefined ? {} : { checkpointStep: progress.checkpointStep }),
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
  const fault = faultText(status.state === 'Failed' ? undefined : status.lastFailure, newest?.report.fault, newest?.healing);
  return {
    ...(wanted !== undefined && Number(wanted) > 1 ? { rankCount: `${live?.worldSize ?? ready}/${wanted}` } : {}),
    ...(live?.ranks ? { ranks: live.ranks.map((rank) => rankView(job, rank)) } : {}),
    ...(live?.straggler === undefined ? {} : { straggler: live.straggler }),
    ...(fault === undefined || !running ? {} : { fault }),
  };
}

/** A rank with the name of its pod as far as it goes beyond that of the job. */
function rankView({ metadata: { name } }: TrainingJob, { collective, ...report }: RankReport): RankView {
  const rank = { ...report, pod: report.pod.startsWith(`${name}-`) ? report.pod.slice(name.length + 1) : report.pod };
  return collective?.state === 'waiting' ? { ...rank, waitsIn: `${collective.operation}, ${collective.site}` } : rank;
}

function serviceView(service: InferenceService): ServiceView {
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
