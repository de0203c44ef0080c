// The identity of a pod over its life: waiting for an operator that is away, giving up in the end, renewing in time.
import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { bundleOf } from '#operator/trust/authority.ts';
import { jobOf, podOf, TestInstallation } from '#operator/trust/testing.ts';
import { PodIdentity } from './pod-identity.ts';
import type { PodIdentityOptions } from './pod-identity.ts';
import { requestIdentity } from './request.ts';

const patience = { timeout: 30_000, interval: 10 };

let stack: AsyncDisposableStack;
let installation: TestInstallation;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  installation = stack.use(await TestInstallation.start());
});
afterEach(() => stack.disposeAsync());

/** A pod of a job, and the reasons why it waits. */
function podOptions(
  more: Partial<PodIdentityOptions> = {},
): PodIdentityOptions & { readonly reasons: string[]; readonly said: string[] } {
  const job = jobOf('moby');
  const pod = podOf(job, 0);
  const reasons: string[] = [];
  const said: string[] = [];
  const log = (fields: object, message: string) => {
    said.push(message);
    if ('reason' in fields) reasons.push(String(fields.reason));
  };
  const tokenFile = installation.tokenFile(pod);
  installation.jobs.push(job);
  installation.pods.push(pod);
  const ca = bundleOf(installation.trust.authority);
  return { url: installation.url, ca, tokenFile, log, signal: new AbortController().signal, reasons, said, ...more };
}

it('waits for an operator that does not know the pod yet, and says why, once', async () => {
  const options = podOptions();
  const [pod] = installation.pods.splice(0);
  const waiting = PodIdentity.obtain(options);
  await vi.waitFor(() => expect(options.reasons).toHaveLength(1), patience);
  installation.pods.push(pod!);
  const identity = await waiting;
  stack.defer(() => identity.close());
  expect(identity.current.secret.length).toBeGreaterThan(16);
  expect(options.reasons).toEqual([
    'the operator answers 403: pod default/moby-worker-0: no pod of this name and uid is known to be there',
  ]);
});

it('gives up with WL_CREDENTIALS, naming the operator and its answer', async () => {
  const options = podOptions({ patienceMs: 0 });
  installation.pods.length = 0;
  await expect(PodIdentity.obtain(options)).rejects.toMatchObject({
    code: 'WL_CREDENTIALS',
    message: expect.stringMatching(
      /the operator at https:\/\/localhost:\d+ gave this pod no credentials .*no pod of this name/,
    ) as string,
  });
});

it('comes back when the operator said that it may, and gets what it asks for', async () => {
  let now = Date.now();
  installation.now = () => now;
  const options = podOptions();
  const signal = new AbortController().signal;
  for (let asked = 0; asked < 10; asked += 1) await requestIdentity(options, signal);
  now += 4_000;
  await expect(requestIdentity(options, signal)).rejects.toMatchObject({ name: 'RefusedError', retryAfterMs: 1_000 });
  const waiting = PodIdentity.obtain(options);
  await vi.waitFor(() => expect(options.reasons).toEqual([expect.stringMatching(/429: .* asks too often/)]), patience);
  now += 1_000;
  const identity = await waiting;
  await identity.close();
});

it('a pod that is asked to end while it waits ends', async () => {
  const stop = new AbortController();
  const options = podOptions({ signal: stop.signal });
  installation.pods.length = 0;
  const waiting = PodIdentity.obtain(options);
  await vi.waitFor(() => expect(options.reasons).toHaveLength(1), patience);
  stop.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
});

it('asks anew when two thirds of the life of its certificate are over, with other keys, and is told whom to trust from then on', async () => {
  installation.certificateMs = 6_000;
  const options = podOptions();
  const identity = await PodIdentity.obtain(options);
  stack.defer(() => identity.close());
  const first = identity.current;
  const renewed = await new Promise<typeof first>((resolve) => identity.onRenewed(resolve));
  expect(identity.current).toBe(renewed);
  expect(renewed.key).not.toBe(first.key);
  expect(new X509Certificate(renewed.cert).validToDate.getTime()).toBeGreaterThan(
    new X509Certificate(first.cert).validToDate.getTime(),
  );
  expect(options.said.at(-1)).toBe('renewed the credentials of this pod');
});
