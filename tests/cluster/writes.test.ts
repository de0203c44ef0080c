// What `windlass operator` writes, as the audit log of a real API server tells: no pod twice, none lost, little beside them, and nothing at rest.
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { AuditLog } from './audit-log.ts';
import type { Write } from './audit-log.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { faultsOf, operatorWrites, writesOfJob } from './operator-writes.ts';
import { startStubKubelet } from './stub-kubelet.ts';
import type { StubKubelet } from './stub-kubelet.ts';

const sizes = [1, 2, 3, 4, 6, 8, 16, 32];

describe('the writes of an operator', () => {
  const stack = new AsyncDisposableStack();
  let client: HttpKube;
  let namespace: string;
  let kubelet: StubKubelet;
  let log: AuditLog;
  let jobs: TrainingJob[];
  let writes: Write[] = [];

  beforeAll(async () => {
    const connected = await connect();
    stack.defer(() => connected.transport.close());
    ({ client } = connected);
    namespace = await newNamespace(client);
    log = await AuditLog.open(inject('auditLog'));
    stack.defer(() => log.close());
    kubelet = stack.use(await startStubKubelet(namespace, () => undefined));
    jobs = sizes.map((ranks) => jobOf(namespace, ranks));
    const operator = stack.use(startOperator(namespace));
    await operator.said('controllers run');
    await log.read();
  });

  afterAll(() => stack.disposeAsync());

  /** What has been written in the namespace since the last call, until the lease was renewed twice and nothing else was written. */
  async function untilRest(): Promise<Write[]> {
    const seen: Write[] = [];
    let renewals = 0;
    await vi.waitFor(
      async () => {
        const more = (await log.read()).filter((write) => write.namespace === namespace);
        const others = more.filter(({ resource }) => resource !== 'leases');
        renewals = others.length > 0 ? 0 : renewals + more.length;
        seen.push(...others);
        if (renewals < 2) throw new Error(`no rest: ${JSON.stringify(others.at(-1))}`);
      },
      { timeout: 100_000, interval: 50 },
    );
    return seen;
  }

  const areRunning = async (attempt: number) => {
    const { items } = await client.list(TrainingJob, { namespace });
    const states = items.map(({ status }) => `${status?.state} ${status?.attempt}`);
    expect(states).toEqual(jobs.map(() => `Running ${attempt}`));
  };

  it('make each pod of many jobs once', async () => {
    await Promise.all(jobs.map((job) => client.create(TrainingJob, job)));
    await vi.waitFor(() => areRunning(0), { timeout: 100_000, interval: 100 });
    writes = await untilRest();
    expect(faultsOf(writes, jobs)).toEqual([]);
    expect(kubelet.seen).toHaveLength(sizes.reduce((sum, ranks) => sum + ranks, 0));
  });

  it('are at most 12 for a job beside one for each pod, until all ranks run', () => {
    const counts = jobs.map(({ metadata }, index) => [sizes[index], writesOfJob(writes, metadata).length] as const);
    for (const [pods = 0, count] of counts) expect(count, `writes for ${pods} pods`).toBeLessThanOrEqual(pods + 12);
  });

  it('are none at rest, but for the renewal of the lease', async () => {
    expect(operatorWrites(await untilRest())).toEqual([]);
  });

  it('make each pod of gangs that can not go on once more, and no other', async () => {
    kubelet.seen.length = 0;
    // It only followed another one, so the others can't go on without it.
    kubelet.fate = ({ metadata: { labels = {} } }) =>
      labels[label.attempt] === '0' && labels[label.rank] === '0' ? { exitCode: ExitCode.follow } : undefined;
    kubelet.nudge();
    await vi.waitFor(() => areRunning(1), { timeout: 100_000, interval: 100 });
    const again = operatorWrites(await untilRest()).filter(({ verb, resource }) => verb === 'create' && resource === 'pods');
    const names = jobs.flatMap(({ metadata }, index) =>
      Array.from({ length: sizes[index]! }, (_, rank) => `${metadata.name}-worker-${rank} 1`),
    );
    expect(kubelet.seen.filter((pod) => pod.endsWith(' 1')).toSorted()).toEqual(names.toSorted());
    expect(again.filter(({ code }) => code !== 201)).toEqual([]);
  });
});

function jobOf(namespace: string, ranks: number): TrainingJob {
  const made = trainingJob(`ranks-${ranks}`, {
    parallelism: { dataReplicate: ranks },
    task: { pretrain: { steps: 400, batch: { sequences: 4 * ranks, length: 128, grains: ranks } } },
  });
  return { ...made, metadata: { ...made.metadata, namespace } };
}
