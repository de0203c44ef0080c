// The process kubelet: runs every pod of the API as processes of this machine, and every Service as a listener.
import type { KubeClient } from '#operator/kube/client.ts';
import { keyOf } from '#operator/kube/client.ts';
import { isPodFinished, isPodReady, Pod, Service } from '#operator/kube/core.ts';
import { isNotFound } from '#operator/kube/errors.ts';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { AddressPool } from './addresses.ts';
import { PodWorker } from './pod-worker.ts';
import { ServiceProxy } from './service-proxy.ts';

export interface KubeletOptions {
  readonly client: KubeClient;
  readonly stateDir: string;
  readonly workingDir: string;
  readonly windlassCommand: readonly string[];
  readonly nodeEnv: Readonly<Record<string, string>>;
  /** Told what could not be done for a pod or service: a port that is taken, a folder that can't be made. */
  readonly onError: (error: WindlassError, object: string) => void;
}

/** Addresses tried for a service before its port counts as taken. */
const addressTries = 5;

export class ProcessKubelet {
  readonly #options: KubeletOptions;
  readonly #podAddresses: AddressPool;
  readonly #serviceAddresses: AddressPool;
  readonly #workers = new Map<string, { pod: Pod; worker: PodWorker; done: Promise<void> }>();
  readonly #proxies = new Map<string, { service: Service; proxy: ServiceProxy }>();
  readonly #pods = new Map<string, Pod>();
  readonly #watching = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: KubeletOptions) {
    this.#options = options;
    this.#podAddresses = new AddressPool('pod', options.stateDir);
    this.#serviceAddresses = new AddressPool('service', options.stateDir);
  }

  /**
   * Starts to follow the API. Pods that an earlier process of this state left unfinished are removed first: their processes are gone,
   * and their controllers make new ones.
   */
  async start(): Promise<void> {
    const { client } = this.#options;
    for (const pod of (await client.list(Pod)).items) {
      if (!isPodFinished(pod) || pod.metadata.deletionTimestamp) await client.delete(Pod, keyOf(pod), { gracePeriodSeconds: 0 });
    }
    const { signal } = this.#watching;
    this.#loops = Promise.all([this.#followPods(signal), this.#followServices(signal)]);
  }

  /** Stops following, ends all containers in their grace time and removes their pods, so that a later start makes them anew. */
  async stop(): Promise<void> {
    this.#watching.abort();
    await this.#loops;
    const workers = [...this.#workers.values()];
    for (const { worker } of workers) worker.stop();
    await Promise.all(workers.map(({ done }) => done));
    for (const { proxy } of this.#proxies.values()) proxy.close();
  }

  async #followPods(signal: AbortSignal): Promise<void> {
    for await (const event of this.#options.client.watch(Pod, { signal })) {
      if (event.type === 'BOOKMARK') continue;
      const pod = event.object;
      const uid = pod.metadata.uid ?? '';
      if (event.type === 'DELETED') this.#pods.delete(uid);
      else this.#pods.set(uid, pod);
      this.#tellProxies();
      const known = this.#workers.get(uid);
      if (event.type === 'DELETED' || pod.metadata.deletionTimestamp) {
        if (known) known.worker.stop();
        else if (event.type !== 'DELETED') await this.#remove(pod);
      } else if (!known && !isPodFinished(pod)) this.#startPod(pod, uid);
    }
  }

  #startPod(pod: Pod, uid: string): void {
    const { client, stateDir, workingDir, windlassCommand, nodeEnv } = this.#options;
    const worker = new PodWorker(pod, {
      stateDir,
      workingDir,
      windlassCommand,
      nodeEnv,
      podIP: this.#podAddresses.claim(uid),
      writeStatus: async (status) => {
        await client.patchStatus(Pod, keyOf(pod), status, { uid }).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
      },
    });
    const done = worker
      .run()
      .catch((error: unknown) => this.#options.onError(toWindlassError(error), `pod/${pod.metadata.name}`))
      .then(async () => {
        this.#workers.delete(uid);
        this.#podAddresses.release(uid);
        const current = this.#pods.get(uid);
        if (this.#watching.signal.aborted || current?.metadata.deletionTimestamp) await this.#remove(pod);
      });
    this.#workers.set(uid, { pod, worker, done });
  }

  async #remove(pod: Pod): Promise<void> {
    await this.#options.client
      .delete(Pod, keyOf(pod), { gracePeriodSeconds: 0, uid: pod.metadata.uid })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  }

  async #followServices(signal: AbortSignal): Promise<void> {
    for await (const event of this.#options.client.watch(Service, { signal })) {
      if (event.type === 'BOOKMARK') continue;
      const service = event.object;
      const uid = service.metadata.uid ?? '';
      const known = this.#proxies.get(uid);
      if (event.type === 'DELETED') {
        this.#proxies.delete(uid);
        this.#serviceAddresses.release(uid);
        known?.proxy.close();
      } else if (known) known.service = service;
      else await this.#startProxy(service, uid);
      this.#tellProxies();
    }
  }

  /** Listens for a service, on another address where the first ones are taken by other instances on this machine. */
  async #startProxy(service: Service, uid: string): Promise<void> {
    const { client, onError } = this.#options;
    const port = service.spec.ports[0]?.port ?? 80;
    let address = this.#serviceAddresses.claim(uid, service.spec.clusterIP);
    let proxy: ServiceProxy | undefined;
    for (let tries = 1; !proxy; tries += 1) {
      try {
        proxy = await ServiceProxy.listen(address, port);
      } catch (error) {
        const fault = toWindlassError(error);
        if (fault.code !== 'WL_PORT_TAKEN' || tries >= addressTries) {
          onError(fault, `service/${service.metadata.name}`);
          return;
        }
        address = this.#serviceAddresses.replace(uid);
      }
    }
    this.#proxies.set(uid, { service, proxy });
    if (service.spec.clusterIP !== address)
      await client.update(Service, { ...service, spec: { ...service.spec, clusterIP: address } });
  }

  #tellProxies(): void {
    for (const { service, proxy } of this.#proxies.values()) {
      const targetPort = service.spec.ports[0]?.targetPort ?? 80;
      const backends = [...this.#pods.values()].filter(
        (pod) => isPodReady(pod) && !pod.metadata.deletionTimestamp && selects(service, pod),
      );
      const addresses = backends.flatMap((pod) => {
        const port = typeof targetPort === 'number' ? targetPort : namedPort(pod, targetPort);
        return pod.status?.podIP && port ? [{ address: pod.status.podIP, port }] : [];
      });
      proxy.setBackends(addresses);
    }
  }
}

function selects(service: Service, pod: Pod): boolean {
  if (service.metadata.namespace !== pod.metadata.namespace) return false;
  return Object.entries(service.spec.selector).every(([label, value]) => pod.metadata.labels?.[label] === value);
}

function namedPort(pod: Pod, name: string): number | undefined {
  return pod.spec.containers[0]?.ports?.find((port) => port.name === name)?.containerPort;
}
