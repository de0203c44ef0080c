// HTTP probes of a container: ready or not, alive or not, by the rules of Kubernetes.
import { request } from 'node:http';
import { sleep, systemClock } from '#operator/kube/clock.ts';
import type { Probe } from '#operator/kube/core.ts';

const defaultPeriodSeconds = 10;
const defaultTimeoutSeconds = 1;
const defaultFailureThreshold = 3;

/** Asks once. A status from 200 to 399 is a success. */
function probeOnce(probe: Probe, host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timeout = (probe.timeoutSeconds ?? defaultTimeoutSeconds) * 1000;
    const asked = request({ host, port, path: probe.httpGet.path, timeout, agent: false }, (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      resolve(status >= 200 && status < 400);
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(false));
    asked.end();
  });
}

/**
 * Probes until `signal` fires and tells each change: true after one success, false after `failureThreshold` failures in a row. A probe that never
 * succeeded tells false as well, once.
 */
export async function watchProbe(
  probe: Probe,
  host: string,
  port: number,
  signal: AbortSignal,
  tell: (passes: boolean) => void,
): Promise<void> {
  const periodMs = (probe.periodSeconds ?? defaultPeriodSeconds) * 1000;
  const threshold = probe.failureThreshold ?? defaultFailureThreshold;
  let [told, failures]: [boolean | undefined, number] = [undefined, 0];
  await sleep(systemClock, (probe.initialDelaySeconds ?? 0) * 1000, signal);
  while (!signal.aborted) {
    const passed = await probeOnce(probe, host, port);
    if (signal.aborted) return;
    failures = passed ? 0 : failures + 1;
    if (passed && told !== true) tell((told = true));
    else if (failures >= threshold && told !== false) tell((told = false));
    await sleep(systemClock, periodMs, signal);
  }
}
