// What the view needs to know of jobs and services: their objects, with the newest progress reports laid over them.
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { knownFigures } from '#operator/controllers/progress-source.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import type { EventBus } from '#runtime/api/bus.ts';
import { ProgressReport } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import { LossCurve } from './loss-curve.ts';
import { isHealed } from './fault-text.ts';
import { jobView, serviceView } from './object-view.ts';
import type { Newest } from './object-view.ts';
import type { JobView, ServiceView } from './view.ts';

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
    const { phase: _phase, phaseShare: _share, transfer: _transfer, ...kept } = known.progress;
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
