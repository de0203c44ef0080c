// Asks pods that do not answer requests yet how far they are: a hint, which may be missing.
import type { InferenceServiceStatus } from '#crds/v1alpha1/index.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { Startup } from '#runtime/api/messages.ts';

export type PodStartup = NonNullable<NonNullable<InferenceServiceStatus['model']>['startups']>[number];

/** Status is written no more often than this because of progress alone; who has just begun to run is asked sooner. */
export const startupsEveryMs = 10_000;
export const firstStartupMs = 2000;
/** As many as the status holds. */
const askedPods = 64;

/** Whether the pod runs and does not answer requests yet. */
export function isStarting(pod: Pod): boolean {
  const { metadata, status } = pod;
  const runs = status?.containerStatuses?.[0]?.state?.running !== undefined && metadata.deletionTimestamp === undefined;
  return runs && status.podIP !== undefined && !isPodReady(pod) && !isPodFinished(pod);
}

/** What the starting pods of each service said last. */
export interface StartupBook {
  /** Asks the pods of a service that are starting; what they said a moment ago is not asked for again. */
  ask(service: string, pods: readonly Pod[], signal: AbortSignal): Promise<readonly PodStartup[]>;
}

/** Whoever does not answer in `timeoutMs` is left out. */
export function createStartupBook(clock: Clock, timeoutMs = 500): StartupBook {
  const book = new Map<string, { askedAt: number; pods: string; told: readonly PodStartup[] }>();
  return {
    async ask(service, pods, signal) {
      const starting = pods.filter(isStarting).slice(0, askedPods);
      if (starting.length === 0) {
        book.delete(service);
        return [];
      }
      const names = starting.map(({ metadata }) => metadata.name).join(' ');
      const known = book.get(service);
      if (known?.pods === names && known.told.length > 0 && clock.now() - known.askedAt < startupsEveryMs) return known.told;
      const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      const told = (await Promise.all(starting.map((pod) => ask(pod, within)))).flat();
      book.set(service, { askedAt: clock.now(), pods: names, told });
      return told;
    },
  };
}

async function ask({ metadata, spec, status }: Pod, signal: AbortSignal): Promise<PodStartup[]> {
  const port = spec.containers[0]?.ports?.[0]?.containerPort;
  const host = status?.podIP?.includes(':') ? `[${status.podIP}]` : status?.podIP;
  try {
    const response = await fetch(`http://${host}:${port}/startup`, {
      signal,
      headers: { connection: 'close' },
      redirect: 'error',
    });
    const { phase, trouble, ...numbers } = Startup.parse(await response.json());
    const whole = Object.entries(numbers).map(([name, value]) => [
      name,
      Math.min(Math.ceil(value ?? 0), Number.MAX_SAFE_INTEGER),
    ]);
    const node = spec.nodeName === undefined ? {} : { node: spec.nodeName };
    const why = trouble === undefined ? {} : { trouble };
    return [{ pod: metadata.name, ...node, phase, ...why, ...Object.fromEntries(whole) }];
  } catch {
    return [];
  }
}
