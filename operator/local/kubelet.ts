// The process kubelet: runs every pod of the API as processes of this machine, and every Service as a listener.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { reflect } from '#operator/framework/reflector.ts';
import { Store } from '#operator/framework/store.ts';
import type { StoreChange } from '#operator/framework/store.ts';
import type { KubeClient, KubeObject } from '#operator/kube/client.ts';
import { keyOf } from '#operator/kube/client.ts';
import { systemClock } from '#operator/kube/clock.ts';
import { isPodFinished, Pod, Secret, Service } from '#operator/kube/core.ts';
import type { PodStatus } from '#operator/kube/core.ts';
import { isConflict, isNotFound } from '#operator/kube/errors.ts';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { AddressPool } from './addresses.ts';
import { HostsFile } from './hosts-file.ts';
import { endLeftovers } from './leftovers.ts';
import { PodWorker } from './pod-worker.ts';
import { ServiceListeners } from './service-listeners.ts';
import { threadShare } from './threads.ts';

export interface KubeletOptions {
  readonly client: KubeClient;
  readonly stateDir: string;
  readonly workingDir: string;
  readonly windlassCommand: readonly string[];
  readonly nodeEnv: Readonly<Record<string, string>>;
  /** Told what could not be done for a pod or service: a port that is taken, a folder that can't be made. */
  readonly onError: (error: WindlassError, object: string) => void;
}

/** What an earlier instance left running gets this long to save and end. */
const leftoverGraceMs = 10_000;

export class ProcessKubelet {
  readonly #options: KubeletOptions;
  readonly #addresses: AddressPool;
  readonly #hosts: HostsFile;
  readonly #listeners: ServiceListeners;
  readonly #workers = new Map<string, { worker: PodWorker; done: Promise<void> }>();
  readonly #removals = new Set<Promise<void>>();
  readonly #pods = new Store(Pod);
  readonly #services = new Store(Service);
  readonly #watching = new AbortController();
  #reflectors: Promise<unknown> = Promise.resolve();

  constructor(options: KubeletOptions) {
    const { client, stateDir, onError } = options;
    this.#options = options;
    this.#addresses = new AddressPool('pod', stateDir);
    this.#hosts = new HostsFile(stateDir);
    this.#listeners = new ServiceListeners({ client, instance: stateDir, onError });
    this.#pods.onChange((change) => this.#podChanged(change));
    this.#services.onChange(({ object, old }) => {
      if (old && old.metadata.uid !== object?.metadata.uid) this.#listeners.remove(old);
      if (object) this.#listeners.put(object);
    });
  }

  /**
   * Starts to follow the API. Pods that an earlier process of this state left unfinished are ended and removed first; their controllers
   * make new ones.
   */
  async start(): Promise<void> {
    const { client, stateDir } = this.#options;
    await endLeftovers(join(stateDir, 'pods'), leftoverGraceMs);
    this.#hosts.clear();
    for (const pod of (await client.list(Pod)).items)
      if (!isPodFinished(pod) || pod.metadata.deletionTimestamp) await this.#delete(pod);
    this.#reflectors = Promise.all([this.#follow(this.#pods), this.#follow(this.#services)]);
    await Promise.all([this.#pods.whenSynced(), this.#services.whenSynced()]);
  }

  /**
   * Stops following and ends all containers in their grace time. Pods that did not finish are removed, so that a later start makes them anew;
   * those that did stay for their controllers to read.
   */
  async stop(): Promise<void> {
    this.#watching.abort();
    await this.#reflectors;
    const workers = [...this.#workers.values()];
    for (const { worker } of workers) worker.shutDown();
    await Promise.all(workers.map(({ done }) => done));
    await Promise.all(this.#removals);
    await this.#listeners.close();
  }

  #follow<T extends KubeObject>(store: Store<T>): Promise<void> {
    const onError = (error: unknown) => this.#options.onError(toWindlassError(error), store.type.plural);
    return reflect({ client: this.#options.client, store, clock: systemClock, onError }, this.#watching.signal);
  }

  #podChanged({ object, old }: StoreChange<Pod>): void {
    this.#listeners.setPods(this.#pods.list());
    const pod = object ?? old;
    if (!pod) return;
    const known = this.#workers.get(pod.metadata.uid ?? '');
    if (!object || pod.metadata.deletionTimestamp) {
      if (known) known.worker.stop(pod.metadata.deletionGracePeriodSeconds);
      else if (object) this.#remove(pod);
    } else if (!known && !isPodFinished(pod)) this.#startPod(pod);
  }

  #startPod(pod: Pod): void {
    const { stateDir, workingDir, windlassCommand, nodeEnv, onError } = this.#options;
    const { uid = '', name } = pod.metadata;
    const podIP = this.#addresses.claim(uid);
    const writeStatus = (status: PodStatus) => this.#writeStatus(pod, status);
    const podEnv = {
      ...nodeEnv,
      ...threadShare(pod, availableParallelism(), process.env),
      WL_HOSTS_FILE: this.#hosts.pathFor(pod.metadata.namespace ?? 'default'),
    };
    const worker = new PodWorker(pod, {
      stateDir,
      workingDir,
      windlassCommand,
      nodeEnv: podEnv,
      podIP,
      writeStatus,
      secret: this.#secretsFor(pod),
    });
    const running = async () => {
      this.#hosts.set(pod, podIP);
      return await worker.run();
    };
    const done = running()
      .catch(async (error: unknown) => {
        const fault = toWindlassError(error);
        onError(fault, `pod/${name}`);
        await this.#writeStatus(pod, { phase: 'Failed', reason: 'ContainerCannotRun', message: fault.message });
        return 'failed' as const;
      })
      .then((end) => {
        this.#workers.delete(uid);
        this.#forgetHost(pod);
        this.#addresses.release(uid);
        const isLeaving = this.#pods.get(keyOf(pod))?.metadata.deletionTimestamp !== undefined;
        if (isLeaving || (this.#watching.signal.aborted && end === 'stopped')) this.#remove(pod);
      });
    this.#workers.set(uid, { worker, done });
  }

  #secretsFor({ metadata: { namespace = 'default' } }: Pod) {
    return async (name: string): Promise<Readonly<Record<string, string>> | undefined> => {
      try {
        return (await this.#options.client.get(Secret, { namespace, name })).data;
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    };
  }

  #forgetHost(pod: Pod): void {
    try {
      this.#hosts.remove(pod);
    } catch (error) {
      this.#options.onError(toWindlassError(error), `pod/${pod.metadata.name}`);
    }
  }

  /** A pod that is gone, or another one of its name, has no status to write. */
  async #writeStatus(pod: Pod, status: PodStatus): Promise<void> {
    try {
      await this.#options.client.patchStatus(Pod, keyOf(pod), status, { uid: pod.metadata.uid });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) this.#options.onError(toWindlassError(error), `pod/${pod.metadata.name}`);
    }
  }

  #remove(pod: Pod): void {
    const removal = this.#delete(pod).catch((error: unknown) =>
      this.#options.onError(toWindlassError(error), `pod/${pod.metadata.name}`),
    );
    this.#removals.add(removal);
    void removal.then(() => this.#removals.delete(removal));
  }

  async #delete(pod: Pod): Promise<void> {
    const { uid } = pod.metadata;
    try {
      await this.#options.client.delete(Pod, keyOf(pod), { gracePeriodSeconds: 0, uid });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}
