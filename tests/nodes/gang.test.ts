// Gangs by the real scheduler: jobs that fit alone but not together, restarts, priorities, topology, and what it has to say.
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { Pod } from '#operator/kube/core.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { gangOf, isIn, Node, rankOf, readyOf, setUp, startScheduledCluster, waiting } from './scheduled.ts';
import type { ScheduledCluster } from './scheduled.ts';

/** WL_RACES=100 is the full measure. */
const races = Number(process.env['WL_RACES'] ?? 6);

let cluster: ScheduledCluster;
beforeAll(async () => {
  cluster = await startScheduledCluster();
}, 3_600_000);
afterAll(() => cluster?.[Symbol.asyncDispose]());

describe('jobs that fit alone but not together', () => {
  it(
    `never block each other, in ${races} races: one runs, the other waits whole, and runs when the first has ended`,
    {
      timeout: 120_000 + races * 30_000,
    },
    async () => {
      await using test = await setUp(cluster);
      const won: Record<string, number> = { a: 0, b: 0 };
      for (let race = 0; race < races; race++) {
        const names = [`a-${race}`, `b-${race}`];
        await Promise.all(names.map((name) => test.start(name)));
        const { winner, loser } = await vi.waitFor(async () => {
          const jobs = await Promise.all(names.map(test.job));
          const running = jobs.find(isIn('Running'));
          const refused = jobs.find((job) => gangOf(job) === 'False Unschedulable');
          if (!running || !refused) throw new Error(`not yet: ${JSON.stringify(jobs.map(({ status }) => status))}`);
          return { winner: running.metadata.name, loser: refused.metadata.name };
        }, waiting);
        expect([winner, loser].toSorted()).toEqual(names);
        expect(await test.placed(winner)).toHaveLength(4);
        expect(await test.placed(loser)).toEqual([]);
        won[winner.slice(0, 1)]! += 1;
        test.finish(winner);
        await test.until(winner, isIn('Succeeded'));
        const second = await test.until(loser, isIn('Running'));
        expect(second.status).toMatchObject({ attempt: 0, restarts: 0 });
        test.finish(loser);
        await test.until(loser, isIn('Succeeded'));
        for (const name of names) await cluster.client.delete(TrainingJob, { namespace: test.namespace, name });
      }
      process.stderr.write(`gang: ${races} races, first by name won ${won['a']}, second ${won['b']}\n`);
      await vi.waitFor(async () => expect(await test.groups()).toEqual([]), waiting);
      expect(test.operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
    },
  );

  it('tell what they lack, in the words of the scheduler', async () => {
    await using test = await setUp(cluster);
    await test.start('large', {}, { cpu: 2 });
    const job = await test.until('large', (job) => gangOf(job) === 'False Unschedulable');
    expect(readyOf(job)).toMatchObject({ status: 'False', reason: 'Unschedulable' });
    expect(readyOf(job)?.message).toMatch(
      /^no place for a gang of 4 pods \(PodGroup large-workers-0\): minCount \(4\) cannot be satisfied: .*; pod large-worker-\d: 0\/\d+ nodes are available: .*Insufficient cpu/,
    );
    expect(await test.placed('large')).toEqual([]);
  });

  it('tell which claims to look at, where the scheduler only says that it failed', async () => {
    await using test = await setUp(cluster, { claims: false });
    await test.start('early');
    const job = await test.until('early', (job) => readyOf(job)?.message.includes('gang of 4') === true);
    expect(readyOf(job)?.message).toMatch(/windlass-jobs/);
    await test.makeClaims();
    await test.until('early', isIn('Running'));
  });
});

describe('a gang', () => {
  it('of a new attempt is placed as a whole again, and the group of the old one goes', async () => {
    await using test = await setUp(cluster);
    await test.start('moby');
    await test.until('moby', isIn('Running'));
    expect(await test.groups()).toEqual(['moby-workers-0']);
    test.fate = (pod) => (pod.metadata.labels?.[label.attempt] === '0' ? { exitCode: rankOf(pod) === 0 ? 75 : 92 } : undefined);
    test.nudge();
    const again = await test.until('moby', (job) => job.status?.attempt === 1 && job.status.state === 'Running');
    expect(gangOf(again)).toBe('True Placed');
    await vi.waitFor(async () => expect(await test.groups()).toEqual(['moby-workers-1']), waiting);
    const { items } = await cluster.client.list(Pod, { namespace: test.namespace });
    expect(items.map(({ spec }) => spec.schedulingGroup?.podGroupName)).toEqual(Array(4).fill('moby-workers-1'));
  });

  it('gets a place for one lost pod, in the group that the others are in', async () => {
    await using test = await setUp(cluster);
    await test.start('moby');
    await test.until('moby', isIn('Running'));
    const killed = new Set<string>();
    test.fate = (pod) => {
      if (rankOf(pod) !== 2 || killed.size > 0) return undefined;
      killed.add(pod.metadata.uid!);
      return { exitCode: 137 };
    };
    test.nudge();
    await test.until('moby', (job) => job.status?.restarts === 1 && isIn('Running')(job) && job.status.readyRanks === 4);
    expect(await test.groups()).toEqual(['moby-workers-0']);
  });

  it('goes when the job is suspended, and what changed meanwhile holds for the new one', async () => {
    await using test = await setUp(cluster);
    await test.start('moby');
    await test.until('moby', isIn('Running'));
    await test.patch('moby', { suspend: true });
    const suspended = await test.until('moby', isIn('Suspended'));
    expect(suspended.status?.podSets).toEqual([
      { name: 'worker', count: 4, requests: { cpu: '1' }, nodeSelector: { pool: test.namespace } },
    ]);
    await vi.waitFor(async () => expect(await test.groups()).toEqual([]), waiting);
    const nodeSelector = { pool: test.namespace, 'kubernetes.io/hostname': `${test.namespace}-2` };
    await cluster.client.patch(Node, { name: `${test.namespace}-2` }, { metadata: { labels: nodeSelector } });
    const tolerations = [{ key: 'reserved', operator: 'Exists' }];
    const parallelism = { dataReplicate: 2 };
    await test.patch('moby', { suspend: false, parallelism, podTemplate: { nodeSelector, tolerations } });
    const running = await test.until('moby', isIn('Running'));
    expect(running.status?.podSets).toMatchObject([{ count: 2, nodeSelector }]);
    const [group] = (await cluster.client.list(PodGroup, { namespace: test.namespace })).items;
    expect(group?.spec.schedulingPolicy).toEqual({ gang: { minCount: 2 } });
    const { items } = await cluster.client.list(Pod, { namespace: test.namespace });
    expect(items.map(({ spec }) => spec.nodeName)).toEqual(Array(2).fill(`${test.namespace}-2`));
    for (const { spec } of items) expect(spec.tolerations).toContainEqual(tolerations[0]);
  });

  it('of higher priority takes the place of another one as a whole, which goes on afterwards, free of charge', async () => {
    await using test = await setUp(cluster);
    const priorityClassName = `${test.namespace}-high`;
    await test.makePriority(priorityClassName, 1000);
    await test.start('low');
    await test.until('low', isIn('Running'));
    await test.start('high', { scheduling: { priorityClassName } });
    const high = await test.until('high', isIn('Running'));
    expect(high.status?.podSets).toMatchObject([{ priorityClassName }]);
    expect(await test.placed('high')).toHaveLength(4);
    const low = await test.until('low', (job) => gangOf(job) === 'False Unschedulable');
    expect(low.status?.restarts).toBe(0);
    expect(await test.placed('low')).toEqual([]);
    test.finish('high');
    await test.until('high', isIn('Succeeded'));
    const back = await test.until('low', isIn('Running'));
    expect(back.status?.restarts).toBe(0);
  });

  it('of an elastic job starts with the fewest ranks that it can go on with', async () => {
    await using test = await setUp(cluster);
    await test.start('moby', { elastic: { minRanks: 2 } }, { cpu: 2 });
    const running = await test.until('moby', (job) => isIn('Running')(job) && gangOf(job) === 'True Placed');
    expect(running.status?.podSets).toMatchObject([{ count: 4, minCount: 2 }]);
    expect(await test.placed('moby')).toHaveLength(2);
  });

  it('says so where the cluster leaves out the topology that it is to be placed by', async () => {
    await using test = await setUp(cluster);
    const schedulingConstraints = { topology: [{ key: 'topology.kubernetes.io/zone' }] };
    await test.start('moby', { scheduling: { schedulingConstraints } });
    const job = await test.until('moby', (job) => gangOf(job).startsWith('True'));
    expect(gangOf(job)).toBe('True TopologyIgnored');
    expect(job.status?.podSets).toMatchObject([{ topologyKey: 'topology.kubernetes.io/zone' }]);
  });
});

it('a gang goes to one zone as a whole, where the cluster heeds topology', { timeout: 300_000 }, async () => {
  await using heeding = await startScheduledCluster({ topologyScheduling: true });
  const zone = 'topology.kubernetes.io/zone';
  await using test = await setUp(heeding, { nodes: [{ [zone]: 'a' }, { [zone]: 'b' }, { [zone]: 'b' }, { [zone]: 'c' }] });
  const schedulingConstraints = { topology: [{ key: zone }] };
  await test.start('moby', { scheduling: { schedulingConstraints } });
  const job = await test.until('moby', (found) => isIn('Running')(found) && gangOf(found).startsWith('True'));
  expect(gangOf(job)).toBe('True Placed');
  expect(new Set(await test.placed('moby'))).toEqual(new Set([2, 3].map((node) => `${test.namespace}-${node}`)));
  await test.start('other', { scheduling: { schedulingConstraints } });
  await test.until('other', (found) => gangOf(found) === 'False Unschedulable');
  expect(await test.placed('other')).toEqual([]);
});
