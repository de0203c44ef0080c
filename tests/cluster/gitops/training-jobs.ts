// TrainingJobs in every state that the plan brings them to, with what kstatus and Argo CD shall make of each.
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { lastWords } from '#operator/controllers/fixtures.ts';
import type { Observed } from '#operator/controllers/training-job/decision.ts';
import { job, now, plan, pod, version } from '#operator/controllers/training-job/testing.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Told } from './told.ts';
import { changed, leaving, refused, unobserved } from './told.ts';

/** The job after the operator has seen each of these in turn, from the moment that it was created. */
function lived(first: TrainingJob, ...observations: Partial<Observed>[]): TrainingJob {
  const planned = (before: TrainingJob, seen: Partial<Observed>): TrainingJob => ({
    ...before,
    status: plan({ job: before, ...seen }).status,
  });
  return [{}, ...observations].reduce(planned, first);
}

const created = (spec: object = {}): TrainingJob => unobserved(job(spec, {}));
const withSpec = (before: TrainingJob, spec: Partial<TrainingJob['spec']>): TrainingJob =>
  changed({ ...before, spec: { ...before.spec, ...spec } });

const running = { pods: [pod()] };
const ended = (exitCode: number, words: object = {}, more: object = {}) => ({
  pods: [pod({ phase: 'Failed' as const, exitCode, words, ...more })],
});
const waitingPod = (status: object) => ({ pods: [{ ...pod(), status: { phase: 'Pending' as const, ...status } }] });
const waitingFor = (reason: string) =>
  waitingPod({ containerStatuses: [{ name: 'agent', ready: false, restartCount: 0, state: { waiting: { reason } } }] });
const unschedulable = waitingPod({
  conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available' }],
});
const published = { pods: [pod({ phase: 'Succeeded', exitCode: 0, words: lastWords() })] };
const done = { versions: [version('moby-1', 1, 'job-1')] };
const report = { uid: 'job-1', attempt: 0, rank: 0, pod: 'moby-worker-0', time: isoTime(now), restarts: 0 };
const runtimeRef = { name: 'gpu', kind: 'ClusterTrainingRuntime' };
const task = { pretrain: { steps: 400, batch: { sequences: 16, length: 256, grains: 4 } } };
const four = { task, parallelism: { dataReplicate: 4 } };
const ranks = (...of: number[]) => ({ pods: of.map((rank) => pod({ rank }, four)) });

export function trainingJobs(): Told[] {
  const progress = ['InProgress', 'Progressing'] as const;
  const healthy = ['Current', 'Healthy'] as const;
  const degraded = ['Failed', 'Degraded'] as const;
  const states: [string, TrainingJob, readonly [Told['kstatus'], Told['argo']]][] = [
    ['just created', created(), progress],
    ['seen for the first time', lived(created()), progress],
    ['waiting for a runtime that does not exist', lived(created({ runtimeRef })), progress],
    ['starting', lived(created(), {}), progress],
    ['starting, with a pod that no node takes', lived(created(), {}, unschedulable), progress],
    ['starting, with an image that can not be had', lived(created(), {}, waitingFor('ImagePullBackOff')), progress],
    ['starting, with a container that is being made', lived(created(), {}, waitingFor('ContainerCreating')), progress],
    ['starting, with three of four ranks', lived(created(four), {}, ranks(0, 1, 2)), progress],
    ['running', lived(created(), {}, running), healthy],
    ['running with four ranks', lived(created(four), {}, ranks(0, 1, 2, 3)), healthy],
    ['running, elastic, with fewer ranks than it may have', lived(created(elastic()), {}, elasticPods(2)), healthy],
    [
      'running, with progress',
      lived(created(), {}, { ...running, report: { ...report, progress: { step: 3, steps: 400, loss: 5 } } }),
      healthy,
    ],
    [
      'edited while running, and not seen since',
      withSpec(lived(created(), {}, running), { ttlSecondsAfterFinished: 5 }),
      progress,
    ],
    [
      'edited while running, and seen',
      lived(withSpec(lived(created(), {}, running), { ttlSecondsAfterFinished: 5 }), running),
      healthy,
    ],
    ['restarting after a lost rank', lived(created(), {}, running, ended(80)), progress],
    ['restarting, waiting for the back-off', lived(created(), {}, running, ended(80), {}), progress],
    ['restarting, with the pods starting again', lived(created(), {}, running, ended(80), {}, { pods: [] }), progress],
    ['restarting after memory ran out', lived(created(), {}, running, ended(137, {}, { signal: 9 })), progress],
    ['restarting after an eviction', lived(created(), {}, running, ended(137, {}, { reason: 'Evicted' })), progress],
    ['restarting after an orderly stop', lived(created(), {}, running, ended(90)), progress],
    ['running again after a restart', lived(created(), {}, running, ended(80), { pods: [pod({ attempt: 1 })] }), healthy],
    ['publishing, before there is a model', lived(created(), {}, running, { ...published, model: undefined }), progress],
    ['publishing', lived(created(), {}, running, published), progress],
    ['succeeded', lived(created(), {}, running, published, done), healthy],
    ['succeeded, and edited since', withSpec(lived(created(), {}, running, done), { ttlSecondsAfterFinished: 60 }), progress],
    [
      'succeeded, edited, and seen since',
      lived(withSpec(lived(created(), {}, running, done), { ttlSecondsAfterFinished: 60 }), done),
      healthy,
    ],
    ['succeeded after a restart', lived(created(), {}, running, ended(80), done), healthy],
    ['succeeded in the moment of its suspension', lived(created({ suspend: true }), running, published, done), healthy],
    ['failed by its data', lived(created(), {}, running, ended(64, { code: 'WL_DATA_EMPTY', message: 'no text' })), degraded],
    ['failed by a fault of the user without a code', lived(created(), {}, running, ended(64)), degraded],
    ['failed after its last restart', lived(created({ faults: { maxRestarts: 0 } }), {}, running, ended(80)), degraded],
    [
      'failed by its deadline',
      lived({ ...created({ activeDeadlineSeconds: 60 }), status: { startTime: isoTime(now - 60_000) } }, running),
      degraded,
    ],
    [
      'failed by a schedule that can not run',
      lived(created({ parallelism: { pipeline: 2, schedule: 'csv', scheduleCsv: 'B0.0,F0.0\nF1.0,B1.0\n' } }), {}),
      degraded,
    ],
    ['failed while it restarted', lived(created(), {}, running, ended(80), ended(64, {}, { attempt: 1 })), degraded],
    [
      'failed, edited, and seen since',
      lived(withSpec(lived(created(), {}, running, ended(64)), { suspend: true }), {}),
      degraded,
    ],
    ['suspended from the start', lived(created({ suspend: true }), {}), ['InProgress', 'Suspended']],
    ['being suspended, with pods that save', lived(created({ suspend: true }), running), progress],
    [
      'suspended while it ran',
      lived(withSpec(lived(created(), {}, running), { suspend: true }), running, {}),
      ['InProgress', 'Suspended'],
    ],
    ['resumed, and not seen since', withSpec(lived(created({ suspend: true }), {}), { suspend: false }), progress],
    ['resumed', lived(withSpec(lived(created({ suspend: true }), {}), { suspend: false }), {}), progress],
    [
      'running after it was resumed',
      lived(withSpec(lived(created({ suspend: true }), {}), { suspend: false }), {}, running),
      healthy,
    ],
    ['with a pod that the API refuses', refused(lived(created(), {})), degraded],
    ['being deleted while it ran', leaving(lived(created(), {}, running)), ['Terminating', 'Progressing']],
    ['being deleted after it failed', leaving(lived(created(), {}, running, ended(64))), ['Terminating', 'Progressing']],
  ];
  return states.map(([name, object, [kstatus, argo]]) => ({ name: `a TrainingJob ${name}`, object, kstatus, argo }));
}

function elastic(): object {
  return { task, parallelism: { dataReplicate: 2 }, elastic: { minRanks: 2, maxRanks: 4 } };
}

const elasticPods = (count: number) => ({ pods: Array.from({ length: count }, (_, rank) => pod({ rank }, elastic())) });
