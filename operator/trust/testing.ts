// For tests: an installation with an authority of its own, and pods whose tokens an API server of a few lines knows.
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { effectiveOf } from '#operator/controllers/effective.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { workerPod } from '#operator/controllers/training-job/pods.ts';
import type { KubeClient, KubeObject } from '#operator/kube/client.ts';
import type { Pod, TokenReview } from '#operator/kube/core.ts';
import { tokenAudience } from '#runtime/api/credentials.ts';
import { takeStep } from './authority.ts';
import type { AuthorityRules } from './authority.ts';
import type { Trust } from './authority-keeper.ts';
import { newBusKeys } from './bus-accounts.ts';
import { serveCredentials } from './credentials-server.ts';
import type { CredentialsServer } from './credentials-server.ts';
import { serverIdentity } from './own-identity.ts';

export const rules: AuthorityRules = { certificateMs: 24 * 3_600_000, authorityMs: 8_760 * 3_600_000 };

export async function newTrust(now = Date.now()): Promise<Trust> {
  return { authority: await takeStep('make', undefined, now, rules), root: randomUUID(), bus: await newBusKeys() };
}

/** A job that has an attempt, with a uid. */
export function jobOf(name: string, spec: object = {}, status: TrainingJob['status'] = {}): TrainingJob {
  const job = trainingJob(name, spec);
  return { ...job, metadata: { ...job.metadata, uid: `uid-of-${name}` }, status };
}

/** Two ranks. */
export const pair = {
  parallelism: { dataReplicate: 2 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 2 } } },
};

export function podOf(job: TrainingJob, rank: number, attempt = 0): Pod {
  const pod = workerPod(job, effectiveOf(undefined, { image: 'windlass:test' }), { rank, attempt, secret: 's', restartsLeft: 0 });
  return { ...pod, metadata: { ...pod.metadata, uid: randomUUID() }, status: { phase: 'Running' } };
}

/** A credentials service on loopback, with pods and jobs that it knows. */
export class TestInstallation implements AsyncDisposable {
  readonly pods: Pod[] = [];
  readonly jobs: TrainingJob[] = [];
  /** Tokens that the API server takes, and what it says of them. */
  readonly tokens = new Map<string, TokenReview['status']>();
  readonly reviewed: string[] = [];
  /** How long the next certificates are valid. */
  certificateMs = rules.certificateMs;
  trust: Trust;
  now: () => number = Date.now;
  readonly #folder = mkdtempSync(join(tmpdir(), 'wl-trust-'));
  #server: CredentialsServer | undefined;
  #files = 0;

  private constructor(trust: Trust) {
    this.trust = trust;
  }

  static async start(): Promise<TestInstallation> {
    const installation = new TestInstallation(await newTrust());
    const client = { create: (_: unknown, review: KubeObject) => installation.#review(review as TokenReview) };
    const identity = await serverIdentity(['localhost'], installation.trust, Date.now(), rules.certificateMs);
    installation.#server = await serveCredentials('127.0.0.1:0', identity, {
      client: client as unknown as KubeClient,
      known: ({ namespace, name }) => {
        const pod = installation.pods.find(({ metadata }) => metadata.name === name && metadata.namespace === namespace);
        const owner = pod?.metadata.ownerReferences?.[0];
        const job = installation.jobs.find(({ metadata }) => metadata.name === owner?.name && metadata.namespace === namespace);
        return { pod, job };
      },
      trust: () => installation.trust,
      now: () => installation.now(),
      rules: () => ({ certificateMs: installation.certificateMs, ownBus: true, busCa: undefined }),
      log: pino({ level: 'silent' }),
    });
    return installation;
  }

  async #review({ spec, ...review }: TokenReview): Promise<TokenReview> {
    this.reviewed.push(spec.token);
    return { ...review, spec, status: this.tokens.get(spec.token) ?? { authenticated: false, error: 'nobody knows it' } };
  }

  get url(): string {
    return `https://localhost:${this.#server!.port}`;
  }

  /** The service shows a certificate of the authority of now. */
  async renew(): Promise<void> {
    this.#server!.renew(await serverIdentity(['localhost'], this.trust, Date.now(), rules.certificateMs));
  }

  add(job: TrainingJob, ...pods: Pod[]): void {
    this.jobs.push(job);
    this.pods.push(...pods);
  }

  /** A file with a token of the pod, as a kubelet writes it; `says` is laid over what the token claims, `known` over what the API server says. */
  tokenFile(
    { metadata: { name, uid, namespace = 'default' } }: Pod,
    {
      audience = tokenAudience,
      exp = Date.now() / 1000 + 600,
      known = {},
    }: { audience?: string; exp?: number; known?: object } = {},
  ): string {
    const claims = { aud: [audience], exp, 'kubernetes.io': { namespace, pod: { name, uid } } };
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const token = `${encode({ alg: 'none' })}.${encode(claims)}.${randomUUID()}`;
    const extra = { 'authentication.kubernetes.io/pod-name': [name], 'authentication.kubernetes.io/pod-uid': [uid ?? ''] };
    const user = { username: `system:serviceaccount:${namespace}:default`, extra };
    this.tokens.set(token, { authenticated: true, audiences: [audience], user, ...known });
    const file = join(this.#folder, `token-${this.#files++}`);
    writeFileSync(file, token);
    return file;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server!.close();
    rmSync(this.#folder, { recursive: true });
  }
}
