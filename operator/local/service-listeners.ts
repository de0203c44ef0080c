// A listener for each Service of the API, on an address of its own, with the ready pods that the Service selects behind it.
import type { KubeClient } from '#operator/kube/client.ts';
import { keyOf } from '#operator/kube/client.ts';
import { sleep, systemClock } from '#operator/kube/clock.ts';
import { isPodReady, Service } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { isConflict, isNotFound } from '#operator/kube/errors.ts';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { AddressPool } from './addresses.ts';
import { ServiceProxy } from './service-proxy.ts';
import type { Backend } from './service-proxy.ts';

export interface ServiceListenersOptions {
  readonly client: KubeClient;
  /** Tells instances on one machine apart. */
  readonly instance: string;
  /** Told once per service that can't be listened for; it is tried again until it works. */
  readonly onError: (error: WindlassError, object: string) => void;
}

interface Entry {
  service: Service;
  readonly port: number;
  readonly closing: AbortController;
  proxy?: ServiceProxy;
  done: Promise<void>;
}

/** Addresses tried for a service before its port counts as taken. */
const addressTries = 5;
const retryMs = 1_000;

export class ServiceListeners {
  readonly #options: ServiceListenersOptions;
  readonly #addresses: AddressPool;
  readonly #entries = new Map<string, Entry>();
  #pods: readonly Pod[] = [];

  constructor(options: ServiceListenersOptions) {
    this.#options = options;
    this.#addresses = new AddressPool('service', options.instance);
  }

  /** The Service is new or has changed. A headless one is only a name: nothing listens for it. */
  put(service: Service): void {
    if (service.spec.clusterIP === 'None') return;
    const uid = service.metadata.uid ?? '';
    const known = this.#entries.get(uid);
    const port = service.spec.ports[0]?.port ?? 80;
    if (known?.port === port) {
      known.service = service;
      this.#tell(known);
      return;
    }
    if (known) close(known);
    const entry: Entry = { service, port, closing: new AbortController(), done: Promise.resolve() };
    this.#entries.set(uid, entry);
    entry.done = this.#open(entry, uid).catch((error: unknown) =>
      this.#options.onError(toWindlassError(error), `service/${service.metadata.name}`),
    );
  }

  remove(service: Service): void {
    const uid = service.metadata.uid ?? '';
    const entry = this.#entries.get(uid);
    if (!entry) return;
    this.#entries.delete(uid);
    this.#addresses.release(uid);
    close(entry);
  }

  /** The pods of all namespaces, as they are now. */
  setPods(pods: readonly Pod[]): void {
    this.#pods = pods;
    for (const entry of this.#entries.values()) this.#tell(entry);
  }

  async close(): Promise<void> {
    const entries = [...this.#entries.values()];
    for (const entry of entries) close(entry);
    await Promise.all(entries.map(({ done }) => done));
  }

  async #open(entry: Entry, uid: string): Promise<void> {
    const { signal } = entry.closing;
    for (let told = false; !signal.aborted;) {
      try {
        const { proxy, address } = await this.#listen(entry, uid);
        if (signal.aborted) {
          proxy.close();
          return;
        }
        entry.proxy = proxy;
        this.#tell(entry);
        await this.#publishAddress(entry.service, address);
        return;
      } catch (error) {
        if (!told) this.#options.onError(toWindlassError(error), `service/${entry.service.metadata.name}`);
        told = true;
        await sleep(systemClock, retryMs, signal);
      }
    }
  }

  /** Listens at the service's address, or at another one where that is taken by another instance on this machine. */
  async #listen({ service, port }: Entry, uid: string): Promise<{ proxy: ServiceProxy; address: string }> {
    const wanted = this.#addresses.claim(uid, service.spec.clusterIP);
    for (let [address, tries] = [wanted, 1]; ; tries += 1) {
      try {
        return { proxy: await ServiceProxy.listen(address, port), address };
      } catch (error) {
        if (toWindlassError(error).code !== 'WL_PORT_TAKEN' || tries >= addressTries) throw error;
        address = this.#addresses.replace(uid);
      }
    }
  }

  async #publishAddress(service: Service, address: string): Promise<void> {
    const { client } = this.#options;
    for (;;) {
      try {
        const current = await client.get(Service, keyOf(service));
        if (current.metadata.uid !== service.metadata.uid || current.spec.clusterIP === address) return;
        await client.update(Service, { ...current, spec: { ...current.spec, clusterIP: address } });
        return;
      } catch (error) {
        if (isNotFound(error)) return;
        if (!isConflict(error)) throw error;
      }
    }
  }

  #tell({ service, proxy }: Entry): void {
    proxy?.setBackends(this.#pods.flatMap((pod) => backendOf(service, pod)));
  }
}

function close({ closing, proxy }: Entry): void {
  closing.abort();
  proxy?.close();
}

function backendOf(service: Service, pod: Pod): Backend[] {
  if (!isPodReady(pod) || pod.metadata.deletionTimestamp || !selects(service, pod)) return [];
  const targetPort = service.spec.ports[0]?.targetPort ?? 80;
  const ports = pod.spec.containers[0]?.ports ?? [];
  const port = typeof targetPort === 'number' ? targetPort : ports.find(({ name }) => name === targetPort)?.containerPort;
  return pod.status?.podIP && port ? [{ address: pod.status.podIP, port }] : [];
}

function selects({ metadata, spec }: Service, pod: Pod): boolean {
  if (metadata.namespace !== pod.metadata.namespace) return false;
  return Object.entries(spec.selector).every(([label, value]) => pod.metadata.labels?.[label] === value);
}
