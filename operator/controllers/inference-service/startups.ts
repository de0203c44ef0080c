// Asks pods that do not answer requests yet how far they are: a hint, which may be missing.
import type { InferenceServiceStatus } from '#crds/v1alpha1/index.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { Startup } from '#runtime/api/messages.ts';

export type PodStartup = NonNullable<NonNullable<InferenceServiceStatus['model']>['startups']>[number];

const askMs = 500;
/** As many as the status holds. */
const askedPods = 64;

/** Whether the pod runs and does not answer requests yet. */
export function isStarting(pod: Pod): boolean {
  const { metadata, status } = pod;
  const runs = status?.containerStatuses?.[0]?.state?.running !== undefined && metadata.deletionTimestamp === undefined;
  return runs && status.podIP !== undefined && !isPodReady(pod) && !isPodFinished(pod);
}

/** What pods that are starting say of themselves. Whoever does not answer at once is left out. */
export async function askStartups(pods: readonly Pod[], signal: AbortSignal, timeoutMs = askMs): Promise<PodStartup[]> {
  const starting = pods.filter(isStarting).slice(0, askedPods);
  return (await Promise.all(starting.map((pod) => ask(pod, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))))).flat();
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
    const { phase, ...numbers } = Startup.parse(await response.json());
    const whole = Object.entries(numbers).map(([name, value]) => [
      name,
      Math.min(Math.ceil(value ?? 0), Number.MAX_SAFE_INTEGER),
    ]);
    const node = spec.nodeName === undefined ? {} : { node: spec.nodeName };
    return [{ pod: metadata.name, ...node, phase, ...Object.fromEntries(whole) }];
  } catch {
    return [];
  }
}
