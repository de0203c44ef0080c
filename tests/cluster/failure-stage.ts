// Where scripted failures play: a namespace with one job, a kubelet that follows the script, and all that the job said of itself.
import { randomUUID } from 'node:crypto';
import { vi } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { reflect } from '#operator/framework/reflector.ts';
import { Store } from '#operator/framework/store.ts';
import { systemClock } from '#operator/kube/clock.ts';
import { Pod, Service } from '#operator/kube/core.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import type { Transport } from '#operator/kube/transport.ts';
import type { EventBus } from '#runtime/api/bus.ts';
import type { FaultReport, ProgressReport, TerminationMessage } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import type { Fate, StubKubelet } from './stub-kubelet.ts';
import { startStubKubelet } from './stub-kubelet.ts';

export const rankOf = (pod: Pod): number => Number(pod.metadata.labels?.[label.rank]);

/** Two ranks, of which the first publishes. */
export const twoRanks = {
  parallelism: { dataReplicate: 2 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 2 } } },
};

export interface End {
  exitCode: number;
  words?: TerminationMessage;
  reason?: string;
  evicted?: string;
}

/** Ends one pod of this rank in this way; others run on. */
export function ends(rank: number, how: End): Fate {
  let met: string | undefined;
  return (pod) => {
    if (rankOf(pod) !== rank || (met ?? pod.metadata.uid) !== pod.metadata.uid) return undefined;
    met = pod.metadata.uid;
    return how;
  };
}

/** On a machine that has much else to do. */
export const patienceMs = 240_000;

export class Stage implements AsyncDisposable {
  readonly namespace: string;
  readonly client: HttpKube;
  readonly #transport: Transport;
  readonly #bus: EventBus;
  readonly #abort = new AbortController();
  #kubelet: StubKubelet | undefined;
  /** Every status that the job has had, oldest first. */
  readonly statuses: TrainingJobStatus[] = [];
  #watching: Promise<void> | undefined;
  readonly #ends: (() => Promise<unknown>)[] = [];

  private constructor(client: HttpKube, transport: Transport, bus: EventBus, namespace: string) {
    this.client = client;
    this.#transport = transport;
    this.#bus = bus;
    this.namespace = namespace;
  }

  static async open(client: HttpKube, transport: Transport, bus: EventBus, labels: Record<string, string> = {}): Promise<Stage> {
    const name = `failure-${randomUUID().slice(0, 8)}`;
    await transport.request({
      method: 'POST',
      path: '/api/v1/namespaces',
      body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } },
    });
    const stage = new Stage(client, transport, bus, name);
    stage.#kubelet = await startStubKubelet(name, () => undefined, { through: { client, transport } });
    return stage;
  }

  get kubelet(): StubKubelet {
    return this.#kubelet!;
  }

  /** Makes the job and writes down what it says of itself, also across the ends of watches. */
  async create(spec: object): Promise<void> {
    const made = trainingJob('moby', spec);
    const { client, namespace } = this;
    const store = new Store(TrainingJob, {}, [namespace]);
    store.onChange(({ object }) => {
      if (object?.status) this.statuses.push(object.status);
    });
    this.#watching = reflect({ client, store, clock: systemClock, selector: { namespace } }, this.#abort.signal);
    await store.whenSynced();
    await client.create(TrainingJob, { ...made, metadata: { ...made.metadata, namespace } });
  }

  job(): Promise<TrainingJob> {
    return this.client.get(TrainingJob, { namespace: this.namespace, name: 'moby' });
  }

  /** What the job says now. */
  get status(): TrainingJobStatus {
    return this.statuses.at(-1) ?? {};
  }

  /** The status as soon as `test` holds for it. */
  until(test: (status: TrainingJobStatus) => boolean): Promise<TrainingJobStatus> {
    return this.wait(() => {
      if (!test(this.status)) throw new Error(`not yet: ${JSON.stringify(this.status)}`);
      return this.status;
    });
  }

  wait<T>(look: () => T | Promise<T>): Promise<T> {
    return vi.waitFor(look, { timeout: patienceMs, interval: 50 });
  }

  /** All pods run, in this attempt. */
  running(attempt = 0, restarts = attempt): Promise<TrainingJobStatus> {
    return this.until((status) => status.state === 'Running' && status.restarts === restarts && status.attempt === attempt);
  }

  /** What Ready says, once it gives this reason. */
  async unready(reason: string): Promise<string> {
    const readyOf = ({ conditions = [] }: TrainingJobStatus) => conditions.find(({ type }) => type === 'Ready');
    return readyOf(await this.until((status) => readyOf(status)?.reason === reason))!.message;
  }

  /** Lets pods meet their fate from now on. */
  fate(fate: Fate): void {
    this.kubelet.fate = fate;
    this.kubelet.nudge();
  }

  hinder(hinder: StubKubelet['hinder']): void {
    this.kubelet.hinder = hinder;
    this.kubelet.nudge();
  }

  /** The workers' Service as soon as `test` holds. */
  untilService(test: (service: Service) => boolean): Promise<void> {
    return this.wait(async () => {
      const service = await this.client.get(Service, { namespace: this.namespace, name: 'moby-workers' });
      if (!test(service)) throw new Error('not yet');
    });
  }

  /** Waits until none of these pods is there. */
  untilGone(...uids: (string | undefined)[]): Promise<void> {
    return this.wait(async () => {
      const { items } = await this.client.list(Pod, { namespace: this.namespace });
      if (items.some(({ metadata }) => uids.includes(metadata.uid))) throw new Error('still there');
    });
  }

  /** Waits until the API server refuses pods here: a policy takes a moment to hold. */
  untilRefused(): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'probe' },
      spec: { containers: [{ name: 'a', image: 'a' }] },
    };
    return this.wait(async () => {
      const answer = await this.ask('POST', '/api/v1/namespaces/NAMESPACE/pods?dryRun=All', body).catch((error: Error) => error);
      if (!(answer instanceof Error)) throw new Error('pods are still admitted');
    });
  }

  /** Done when the stage is left. */
  onEnd(act: () => Promise<unknown>): void {
    this.#ends.push(act);
  }

  pod(rank: number): Promise<Pod> {
    return this.client.get(Pod, { namespace: this.namespace, name: `moby-worker-${rank}` });
  }

  /** Sends a request to the API server as a person would. */
  async ask(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<void> {
    await this.#transport.request({ method, path: path.replace('NAMESPACE', this.namespace), ...(body ? { body } : {}) });
  }

  patchPod(rank: number, status: object): Promise<Pod> {
    return this.client.patchStatus(Pod, { namespace: this.namespace, name: `moby-worker-${rank}` }, status);
  }

  /** Takes a pod away by `take`, and lets it end when the job has said so. */
  async takeAway(take: () => Promise<unknown>): Promise<void> {
    this.hinder(() => ({ staysForever: true }));
    await take();
    await this.until((status) => status.lastFailure !== undefined);
    this.hinder(undefined);
  }

  /** What the agents would report over the bus. */
  async report(fault: Partial<FaultReport>, more: Partial<ProgressReport> = {}): Promise<void> {
    const { metadata } = await this.job();
    const report: ProgressReport = {
      uid: metadata.uid!,
      attempt: 0,
      rank: 0,
      pod: 'moby-worker-0',
      time: new Date().toISOString(),
      restarts: 1,
      epoch: 1,
      progress: { step: 120, steps: 400 },
      fault: { time: new Date().toISOString(), epoch: 0, message: '', ...fault },
      ...more,
    };
    this.#bus.publish(progressSubject(this.namespace, 'moby'), report);
  }

  /** The values that the STATE column went through, once the operator had seen the job. */
  get trail(): string[] {
    const states = this.statuses.flatMap(({ state }) => state ?? []);
    return states.filter((state, index) => state !== states[index - 1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#watching;
    for (const act of this.#ends) await act();
    await this.kubelet[Symbol.asyncDispose]();
  }
}
