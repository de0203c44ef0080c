// Who gets credentials from the operator, and for what: the real service and the real request of an agent, over TLS on loopback.
import { createPrivateKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { nkeys } from 'nats';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import { requestIdentity } from '#runtime/agent/identity/request.ts';
import type { Identity } from '#runtime/agent/identity/request.ts';
import { credentialsPath, proofText } from '#runtime/api/credentials.ts';
import { bundleOf, takeStep } from './authority.ts';
import { jobOf, newTrust, pair, podOf, rules, TestInstallation } from './testing.ts';

let installation: TestInstallation;
let job: TrainingJob;
let pods: Pod[];

beforeEach(async () => {
  installation = await TestInstallation.start();
  job = jobOf('moby', pair);
  pods = [podOf(job, 0), podOf(job, 1)];
  installation.add(job, ...pods);
});
afterEach(() => installation[Symbol.asyncDispose]());

const never = new AbortController().signal;

function ask(tokenFile: string, ca = bundleOf(installation.trust.authority)): Promise<Identity> {
  return requestIdentity({ url: installation.url, ca, tokenFile }, never);
}

const busClaims = ({ bus }: Identity) =>
  JSON.parse(Buffer.from(bus.token!.split('.')[1]!, 'base64url').toString()) as { exp: number; nats: Record<string, unknown> };

it('gives a pod of a job a certificate for its names and its job, subjects of its job alone, and the secret of its attempt', async () => {
  const [first, second] = await Promise.all(pods.map((pod) => ask(installation.tokenFile(pod))));
  const certificate = new X509Certificate(first!.cert);
  expect(certificate.subject).toBe('CN=moby-worker-0');
  expect(certificate.subjectAltName?.split(', ')).toEqual([
    'DNS:moby-worker-0.moby-workers',
    'DNS:moby-worker-0.moby-workers.default',
    'DNS:moby-worker-0.moby-workers.default.svc',
    'URI:spiffe://windlass/default/uid-of-moby',
  ]);
  expect(certificate.ca).toBe(false);
  expect(certificate.verify(new X509Certificate(first!.ca).publicKey)).toBe(true);
  expect(certificate.checkPrivateKey(createPrivateKey(first!.key))).toBe(true);
  const { nats, exp } = busClaims(first!);
  expect(nats).toMatchObject({ pub: { allow: ['wl.v1.default.moby.*'] }, sub: { deny: ['>'] } });
  expect(Math.abs(exp * 1000 - certificate.validToDate.getTime())).toBeLessThanOrEqual(1_000);
  expect(first!.secret).toBe(second!.secret);
  expect(first!.key).not.toBe(second!.key);
});

it('another job, and another attempt of the same job, get other secrets', async () => {
  const other = jobOf('other');
  const otherPod = podOf(other, 0);
  installation.add(other, otherPod);
  const before = await ask(installation.tokenFile(pods[0]!));
  const foreign = await ask(installation.tokenFile(otherPod));
  installation.jobs[0] = { ...job, status: { attempt: 1 } };
  installation.pods[0] = podOf(job, 0, 1);
  const after = await ask(installation.tokenFile(installation.pods[0]));
  expect(new Set([before.secret, foreign.secret, after.secret]).size).toBe(3);
});

const refusals: [string, RegExp, () => string | void][] = [
  [
    'a token for another audience',
    /401: the token is not for the audience windlass/,
    () => installation.tokenFile(pods[0]!, { audience: 'vault' }),
  ],
  [
    'a token that the API server takes for another audience only',
    /401: the API server does not take the token/,
    () => installation.tokenFile(pods[0]!, { known: { audiences: ['https://kubernetes.default.svc'] } }),
  ],
  [
    'a token that the API server does not know',
    /401: .*nobody knows it/,
    () => installation.tokenFile(pods[0]!, { known: { authenticated: false, error: 'nobody knows it' } }),
  ],
  ['an expired token', /401: the token has expired/, () => installation.tokenFile(pods[0]!, { exp: Date.now() / 1000 - 1 })],
  [
    'a token of a pod that is not of a job, whatever it claims to be',
    /403: pod default\/web: no pod of this name/,
    () => {
      const user = {
        username: 'system:serviceaccount:default:web',
        extra: { 'authentication.kubernetes.io/pod-name': ['web'], 'authentication.kubernetes.io/pod-uid': ['u'] },
      };
      return installation.tokenFile(pods[0]!, { known: { user } });
    },
  ],
  [
    'a token that is bound to no pod',
    /401: the token is not bound to a pod/,
    () => installation.tokenFile(pods[0]!, { known: { user: { username: 'system:serviceaccount:default:default' } } }),
  ],
  [
    'a token of a user that is no ServiceAccount',
    /401: the token is not bound to a pod/,
    () => installation.tokenFile(pods[0]!, { known: { user: { username: 'admin', extra: {} } } }),
  ],
  [
    'an earlier pod of the same name',
    /403: .*no pod of this name and uid/,
    () => installation.tokenFile({ ...pods[0]!, metadata: { ...pods[0]!.metadata, uid: 'earlier' } }),
  ],
  [
    'a pod that has ended',
    /403: .*it has ended/,
    () => void (installation.pods[0] = { ...pods[0]!, status: { phase: 'Succeeded' } }),
  ],
  [
    'a pod that is being deleted',
    /403: .*it is being deleted/,
    () => void (installation.pods[0] = { ...pods[0]!, metadata: { ...pods[0]!.metadata, deletionTimestamp: 'now' } }),
  ],
  [
    'a pod of an old attempt',
    /403: .*it is of attempt 0, the job is at 1/,
    () => void (installation.jobs[0] = { ...job, status: { attempt: 1 } }),
  ],
  [
    'a pod of a job that has ended',
    /403: .*TrainingJob moby has ended/,
    () => {
      const complete = { type: 'Complete', status: 'True', reason: 'Done', message: '', lastTransitionTime: '' } as const;
      installation.jobs[0] = { ...job, status: { conditions: [complete] } };
    },
  ],
  [
    'a pod of a job that was made anew under its name',
    /403: .*TrainingJob moby is not known/,
    () => void (installation.jobs[0] = { ...job, metadata: { ...job.metadata, uid: 'new' } }),
  ],
  [
    'a pod that says that a job owns it, under a name that no pod of the job has',
    /403: .*TrainingJob moby has no such pod/,
    () => {
      const forged = { ...pods[0]!, metadata: { ...pods[0]!.metadata, name: 'mine', uid: 'mine' } };
      installation.pods.push(forged);
      return installation.tokenFile(forged);
    },
  ],
  [
    'a pod of another owner',
    /403: .*it is not of a TrainingJob/,
    () => {
      const owner = { apiVersion: 'batch/v1', kind: 'Job', name: 'moby', uid: 'uid-of-moby', controller: true };
      installation.pods[0] = { ...pods[0]!, metadata: { ...pods[0]!.metadata, ownerReferences: [owner] } };
    },
  ],
];

it.each(refusals)('refuses %s', async (_, message, arrange) => {
  const tokenFile = arrange() ?? installation.tokenFile(pods[0]!);
  await expect(ask(tokenFile)).rejects.toThrow(message);
});

it('nonsense and tokens of pods that are not ours never reach the API server', async () => {
  const stranger = podOf(jobOf('stranger'), 0);
  for (const tokenFile of [installation.tokenFile(stranger), installation.tokenFile(pods[0]!, { audience: 'x' })])
    await expect(ask(tokenFile)).rejects.toThrow();
  const nonsense = installation.tokenFile(pods[0]!);
  writeFileSync(nonsense, 'a.b.c');
  await expect(ask(nonsense)).rejects.toThrow(/401: the token is not one of a ServiceAccount/);
  expect(installation.reviewed).toEqual([]);
});

/** What the service answers to any body, from this address of the machine. */
function post(
  body: object | string,
  token: string,
  localAddress = '127.0.0.1',
): Promise<{ status: number | undefined; text: string; retryAfter: string | undefined }> {
  return new Promise((resolve, reject) => {
    const options = {
      method: 'POST',
      ca: bundleOf(installation.trust.authority),
      agent: false,
      localAddress,
      headers: { authorization: `Bearer ${token}` },
    };
    const sent = request(new URL(credentialsPath, installation.url), options, (response) => {
      let text = '';
      response.on('data', (part: Buffer) => (text += part.toString()));
      response.on('end', () => resolve({ status: response.statusCode, text, retryAfter: response.headers['retry-after'] }));
    });
    sent.on('error', reject);
    sent.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}

/** A body whose key signs `text`. */
function bodyWith(text: string): { publicKey: string; proof: string; busUser: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    proof: sign('sha256', Buffer.from(text), privateKey).toString('base64'),
    busUser: nkeys.createUser().getPublicKey(),
  };
}

it('a request has no place for names: one that asks for them is refused, as is a key whose owner does not ask', async () => {
  const token = readFileSync(installation.tokenFile(pods[0]!), 'utf8');
  const good = bodyWith('another token');
  expect(await post({ ...good, dnsNames: ['windlass-bus.windlass-system.svc'] }, token)).toMatchObject({
    status: 400,
    text: expect.stringMatching(/nothing else/) as string,
  });
  expect(await post(good, token)).toMatchObject({ status: 400, text: expect.stringMatching(/proof is not signed/) as string });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
    .publicKey.export({ type: 'spki', format: 'der' })
    .toString('base64');
  expect(await post({ ...good, publicKey: rsa }, token)).toMatchObject({
    status: 400,
    text: expect.stringMatching(/P-256/) as string,
  });
  expect(await post('x'.repeat(5_000), token)).toMatchObject({ status: 400 });
  expect(await post('{', token)).toMatchObject({ status: 400 });
});

it('a pod that asks too often is told when to come back, without a question to the API server, and no other pod waits for it', async () => {
  let now = Date.now();
  installation.now = () => now;
  const tokens = pods.map((pod) => readFileSync(installation.tokenFile(pod), 'utf8'));
  const asks = (index: number) => post(bodyWith(proofText(tokens[index]!)), tokens[index]!);
  for (let asked = 0; asked < 10; asked += 1) expect(await asks(0)).toMatchObject({ status: 200, retryAfter: undefined });
  now += 2_000;
  const refused = { status: 429, retryAfter: '3', text: '{"reason":"pod default/moby-worker-0 asks too often"}' };
  expect(await asks(0)).toEqual(refused);
  expect(installation.reviewed).toHaveLength(10);
  expect(await asks(1)).toMatchObject({ status: 200 });
  now += 3_000;
  expect(await asks(0)).toMatchObject({ status: 200 });
  expect(await asks(0)).toMatchObject({ status: 429, retryAfter: '5' });
});

it('of many requests of one pod at the same time, no more are granted than one after the other', async () => {
  const now = Date.now();
  installation.now = () => now;
  const token = readFileSync(installation.tokenFile(pods[0]!), 'utf8');
  const answers = await Promise.all(Array.from({ length: 20 }, () => post(bodyWith(proofText(token)), token)));
  const count = (wanted: number) => answers.filter(({ status }) => status === wanted).length;
  expect([count(200), count(429)]).toEqual([10, 10]);
});

it('who shows forged tokens of a pod uses up nothing that the pod has, and is soon asked about no more', async () => {
  const now = Date.now();
  installation.now = () => now;
  const [pod] = pods;
  for (let forged = 0; forged < 10; forged += 1) {
    const token = readFileSync(installation.tokenFile(pod!, { known: { authenticated: false } }), 'utf8');
    expect(await post(bodyWith(proofText(token)), token, '127.0.0.2')).toMatchObject({ status: 401 });
  }
  const token = readFileSync(installation.tokenFile(pod!), 'utf8');
  expect(await post(bodyWith(proofText(token)), token, '127.0.0.2')).toMatchObject({ status: 429, retryAfter: '5' });
  expect(installation.reviewed).toHaveLength(10);
  expect(await post(bodyWith(proofText(token)), token, '127.0.0.3')).toMatchObject({ status: 200 });
});

it('a pod sends its token to nobody whom the authority does not vouch for', async () => {
  const other = bundleOf((await newTrust()).authority);
  await expect(ask(installation.tokenFile(pods[0]!), other)).rejects.toThrow(/certificate/);
  expect(installation.reviewed).toEqual([]);
});

it('a pod that was made before the authority changed gets credentials of the new one', async () => {
  const { trust } = installation;
  const before = bundleOf(trust.authority);
  let { authority } = trust;
  for (const step of ['announce', 'promote', 'retire'] as const) authority = await takeStep(step, authority, Date.now(), rules);
  installation.trust = { ...trust, authority };
  await installation.renew();
  const identity = await ask(installation.tokenFile(pods[0]!), before);
  expect(identity.ca).not.toBe(before);
  expect(new X509Certificate(identity.cert).verify(new X509Certificate(identity.ca).publicKey)).toBe(true);
});
