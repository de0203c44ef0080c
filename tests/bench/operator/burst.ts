// Many pods at once: jobs given to the operator, and in turns with it the same jobs, paused, beside the same pods sent raw.
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { Pod } from '#operator/kube/core.ts';
import type { Write } from '../../cluster/audit-log.ts';
import { jobOf, paused, rawPods } from './jobs.ts';
import type { OperatorProcess } from './operator-process.ts';
import { ProcessorLog } from './processor-log.ts';
import type { ProcessorTime } from './processor-log.ts';
import type { RawAnswer, RawOrder } from './raw-client.ts';
import { answerOf, endOf } from './stage.ts';
import type { Stage } from './stage.ts';
import { faultsOf, writesOfJob } from '../../cluster/operator-writes.ts';

export interface BurstSize {
  readonly jobs: number;
  readonly ranks: number;
}

/** One turn of ours. */
export interface OursTurn {
  /** Created pods a second, from the moment the first job came to the answer to the last pod. */
  readonly podsPerSecond: number;
  /** The same from the moment the first pod came. */
  readonly podsPerSecondOnce: number;
  /** Processor time of the operator for each pod, until all of them ran. */
  readonly cpuMsPerPod: number;
  /** What each process used for each pod, from the moment the first job came to the answer to the last pod. */
  readonly used: ProcessorTime;
  /** Most writes of the operator for one job, until it ran and nothing more was written. */
  readonly writesPerJob: number;
  /** Pods that were lost, made twice or refused, in words. */
  readonly faults: readonly string[];
}

interface RawTurn {
  readonly podsPerSecond: number;
  readonly cpuMsPerPod: number;
  readonly used: ProcessorTime;
}

export interface BurstRound {
  readonly ours: OursTurn;
  readonly raw: RawTurn;
}

export async function burstRound(
  stage: Stage,
  operator: OperatorProcess,
  raw: RawClient,
  size: BurstSize,
  name: string,
): Promise<BurstRound> {
  const [mine, theirs] = [`${name}-ours`, `${name}-raw`];
  for (const namespace of [mine, theirs]) await stage.namespace(namespace);
  const jobs = Array.from({ length: size.jobs }, (_, index) => jobOf(mine, jobName(index), size.ranks));
  const bodies = jobs.flatMap((job) => rawPods({ ...job, metadata: { ...job.metadata, namespace: theirs } }, 'x'.repeat(43)));
  await stage.settled();

  const ours = await giveJobs(stage, operator, jobs);
  const sample = await stage.client.get(Pod, { namespace: mine, name: bodies[0]!.metadata.name });
  await stage.clear(mine);

  const texts = bodies.map((body) => JSON.stringify(body));
  using processors = new ProcessorLog({ ...stage.processes, bench: process.pid, raw: raw.pid });
  const [{ cpuMs }] = await Promise.all([
    raw.post(stage, theirs, texts),
    ...jobs.map((job) => stage.client.create(TrainingJob, paused(job, theirs))),
  ]);
  await stage.askKubelet({ kind: 'running', namespace: theirs, count: bodies.length });
  const writes = await stage.settled();
  const creates = podCreates(writes, theirs);
  assertSame(sample, await stage.client.get(Pod, { namespace: theirs, name: bodies[0]!.metadata.name }));
  await stage.clear(theirs);
  const span = spanOf([...jobCreates(writes, theirs), ...creates], creates);
  return {
    ours,
    raw: {
      podsPerSecond: rateIn(span, creates),
      cpuMsPerPod: cpuMs / bodies.length,
      used: perPod(processors.between(...span), bodies.length),
    },
  };
}

/** Sends all jobs at once, and waits until all of their pods run and nothing is written any more. */
export async function giveJobs(stage: Stage, operator: OperatorProcess, jobs: readonly TrainingJob[]): Promise<OursTurn> {
  const { namespace = '' } = jobs[0]!.metadata;
  const pods = jobs.reduce((sum, { spec }) => sum + spec.parallelism.dataReplicate, 0);
  const cpu = operator.cpuMs();
  using processors = new ProcessorLog({ ...stage.processes, bench: process.pid, operator: operator.pid });
  await Promise.all(jobs.map((job) => stage.client.create(TrainingJob, job)));
  await Promise.race([stage.askKubelet({ kind: 'running', namespace, count: pods }), operator.failed]);
  const writes = await stage.settled();
  const cpuMsPerPod = (operator.cpuMs() - cpu) / pods;
  const { items } = await stage.client.list(TrainingJob, { namespace });
  const late = items.filter(({ status }) => status?.state !== 'Running').map(({ metadata }) => `${metadata.name} does not run`);
  const creates = podCreates(writes, namespace);
  const span = spanOf(jobCreates(writes, namespace), creates);
  return {
    podsPerSecond: rateIn(span, creates),
    podsPerSecondOnce: rateIn(spanOf(creates, creates), creates),
    cpuMsPerPod,
    used: perPod(processors.between(...span), pods),
    writesPerJob: Math.max(...jobs.map(({ metadata }) => writesOfJob(writes, metadata).length)),
    faults: [...late, ...faultsOf(writes, jobs)],
  };
}

const jobName = (index: number): string => `job-${String(index).padStart(4, '0')}`;

export const podCreates = (writes: readonly Write[], namespace: string): Write[] =>
  writes.filter((write) => write.verb === 'create' && write.resource === 'pods' && write.namespace === namespace);

const jobCreates = (writes: readonly Write[], namespace: string): Write[] =>
  writes.filter((write) => write.verb === 'create' && write.resource === 'trainingjobs' && write.namespace === namespace);

/** From when the first of `begun` came to when the last of `creates` was answered. */
const spanOf = (begun: readonly Write[], creates: readonly Write[]): [number, number] => [
  Math.min(...begun.map(({ receivedMs }) => receivedMs)),
  Math.max(...creates.map(({ answeredMs }) => answeredMs)),
];

const rateIn = ([from, to]: readonly [number, number], creates: readonly Write[]): number =>
  (1000 * creates.length) / (to - from);

const perPod = (used: ProcessorTime, pods: number): ProcessorTime =>
  Object.fromEntries(Object.entries(used).map(([name, ms]) => [name, ms / pods]));

/** Variables in which the pods of one side differ from those of the other, in namespace or secret. */
const ownVariables = ['WL_UID', 'WL_SECRET', 'WL_NAMESPACE', 'WL_JOB_DIR', 'WL_MODELS_DIR', 'WL_MODELS_URI'];

/** The ceiling is one only if both sides made the same pods. */
function assertSame(ours: Pod, raw: Pod): void {
  const plain = ({ spec }: Pod) => ({
    ...spec,
    nodeName: undefined,
    containers: spec.containers.map((container) => ({
      ...container,
      // The API server sorts the keys of what it keeps.
      env: container.env
        ?.filter(({ name }) => !ownVariables.includes(name))
        .map(({ name, value }) => [name, name === 'WL_JOB' ? (JSON.parse(value ?? '') as unknown) : value]),
    })),
  });
  if (!isDeepStrictEqual(plain(ours), plain(raw)))
    throw new Error(
      `both sides must make the same pods; ours: ${JSON.stringify(plain(ours))}, raw: ${JSON.stringify(plain(raw))}`,
    );
}

export class RawClient implements AsyncDisposable {
  readonly parallel: number;
  readonly pid: number;
  readonly #child: ChildProcess;

  constructor(parallel: number) {
    this.parallel = parallel;
    this.#child = fork(join(import.meta.dirname, 'raw-client.ts'));
    this.pid = this.#child.pid!;
  }

  async post({ operator: access }: Stage, namespace: string, bodies: readonly string[]): Promise<RawAnswer> {
    const answered = answerOf<RawAnswer>(this.#child);
    this.#child.send({ access, namespace, bodies, parallel: this.parallel } satisfies RawOrder);
    const answer = await answered;
    if (answer.refused.length > 0) throw new Error(`the API server refused raw pods: ${answer.refused.join(' ')}`);
    return answer;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return endOf(this.#child);
  }
}
