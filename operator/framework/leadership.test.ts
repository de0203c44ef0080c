import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Lease } from '#operator/kube/core.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { aroundWrites } from '#operator/kube/write-hook.ts';
import { fenced, Leadership } from './leadership.ts';

const namespace = 'default';
const key = { namespace, name: 'test' };

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

/** Lets time pass in small steps, as a process that is not stopped sees it. */
async function pass(ms: number, ...clocks: ManualClock[]): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    for (const clock of clocks) clock.advance(500);
    await turns();
  }
}

const aborts: AbortController[] = [];
afterEach(() => aborts.splice(0).forEach((abort) => abort.abort()));

function candidate(kube: KubeClient, identity: string, clock: ManualClock) {
  const said: string[] = [];
  const leadership = new Leadership({
    client: kube,
    clock,
    namespace,
    name: 'test',
    identity,
    jitter: () => 0,
    onChange: (leads) => said.push(leads ? 'leads' : 'leads no more'),
    onSlowPath: () => said.push('slow'),
    onError: (error) => said.push((error as Error).message),
  });
  const abort = new AbortController();
  aborts.push(abort);
  const acquired = leadership.acquire(abort.signal);
  return { leadership, said, acquired, abort };
}

describe('leadership', () => {
  it('goes to one of two, is renewed every two seconds, and is written as client-go writes it', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const first = candidate(kube, 'first', clock);
    await turns();
    const second = candidate(kube, 'second', clock);
    await pass(60_000, clock);
    expect([first.leadership.holds, second.leadership.holds]).toEqual([true, false]);
    expect([first.said, second.said]).toEqual([['leads'], []]);
    const lease = await kube.get(Lease, key);
    expect(lease.spec).toEqual({
      holderIdentity: 'first',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:01:00.000000Z',
      leaseTransitions: 0,
    });
  });

  it('goes over within 17 seconds when the leader is gone without a word, however its clock went', async () => {
    const kube = new MemoryKube();
    const [firstClock, secondClock] = [new ManualClock(Date.UTC(2027, 0, 1)), new ManualClock()];
    const first = candidate(kube, 'first', firstClock);
    await turns();
    const second = candidate(kube, 'second', secondClock);
    await pass(10_000, firstClock, secondClock);
    expect(first.leadership.holds).toBe(true);
    await pass(13_000, secondClock);
    expect(second.leadership.holds).toBe(false);
    await pass(4000, secondClock);
    expect(second.leadership.holds).toBe(true);
    expect((await kube.get(Lease, key)).spec).toMatchObject({ holderIdentity: 'second', leaseTransitions: 1 });
  });

  it('ends by itself when it can not be renewed, before another may begin', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    let down = false;
    const shaky = aroundWrites(kube, async (_, __, ___, act) => {
      if (down) throw new KubeError('Unavailable', 'down');
      return act();
    });
    const first = candidate(shaky, 'first', clock);
    await turns();
    const second = candidate(kube, 'second', clock);
    await pass(4000, clock);
    down = true;
    let [overlap, firstEnded] = [false, -1];
    for (let passed = 0; passed < 30_000; passed += 500) {
      await pass(500, clock);
      overlap ||= first.leadership.holds && second.leadership.holds;
      if (!first.leadership.holds && firstEnded < 0) firstEnded = passed;
    }
    expect([overlap, second.leadership.holds]).toEqual([false, true]);
    expect(firstEnded).toBeLessThanOrEqual(10_000);
    expect(first.leadership.lost.aborted).toBe(true);
    expect(first.said.filter((word) => word !== 'down')).toEqual(['leads', 'leads no more']);
  });

  it('does not outlast a stop of the process: whoever slept may write no more', async () => {
    const [kube, clock, sleeper] = [new MemoryKube(), new ManualClock(), new ManualClock()];
    const first = candidate(kube, 'first', sleeper);
    await turns();
    const second = candidate(kube, 'second', clock);
    await pass(30_000, clock);
    expect(second.leadership.holds).toBe(true);
    // Its clock has gone on; its timers have not fired yet.
    const now = sleeper.now() + 30_000;
    sleeper.now = () => now;
    const client = fenced(kube, first.leadership);
    const model: Model = { apiVersion: Model.apiVersion, kind: 'Model', metadata: { name: 'a', namespace }, spec: {} };
    await expect(client.create(Model, model)).rejects.toThrow('create of Model a was stopped: this process does not lead');
    expect((await client.list(Model)).items).toEqual([]);
  });

  it('is kept when the API was away for longer than the deadline, and nobody else has led: nothing is written in between', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    let down = false;
    const shaky = aroundWrites(kube, async (_, __, ___, act) => {
      if (down) throw new KubeError('Unavailable', 'down');
      return act();
    });
    const first = candidate(shaky, 'first', clock);
    await turns();
    down = true;
    await pass(20_000, clock);
    expect([first.leadership.holds, first.leadership.lost.aborted]).toEqual([false, false]);
    expect(first.said.filter((word) => word !== 'down')).toEqual(['leads', 'leads no more']);
    down = false;
    await pass(2500, clock);
    expect([first.leadership.holds, first.leadership.lost.aborted]).toEqual([true, false]);
    expect(first.said.at(-1)).toBe('leads');
    expect((await kube.get(Lease, key)).spec).toMatchObject({ holderIdentity: 'first', leaseTransitions: 0 });
  });

  it.each([
    ['has given it back', async (kube: MemoryKube) => void (await kube.patch(Lease, key, { spec: { holderIdentity: '' } }))],
    ['has deleted it', async (kube: MemoryKube) => void (await kube.delete(Lease, key))],
  ])('is not taken again by who led before, when another has led meanwhile and %s', async (_, end) => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    let down = false;
    const shaky = aroundWrites(kube, async (__, ___, ____, act) => {
      if (down) throw new KubeError('Unavailable', 'down');
      return act();
    });
    const first = candidate(shaky, 'first', clock);
    await turns();
    down = true;
    await pass(12_000, clock);
    await kube.patch(Lease, key, { spec: { holderIdentity: 'usurper' } });
    await end(kube);
    down = false;
    await pass(2500, clock);
    expect([first.leadership.holds, first.leadership.lost.aborted]).toEqual([false, true]);
  });

  it('is renewed as soon as a slow try has ended, not two seconds later', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    let slow = false;
    let tries = 0;
    const hanging = aroundWrites(kube, async (_, __, ___, act) => {
      tries += 1;
      if (!slow) return act();
      await new Promise<void>((resolve) => void clock.after(5000, resolve));
      throw new KubeError('Unavailable', 'no answer within 5 s');
    });
    const first = candidate(hanging, 'first', clock);
    await turns();
    slow = true;
    await pass(2000, clock);
    expect(tries).toBe(2);
    slow = false;
    await pass(4500, clock);
    expect(tries).toBe(2);
    await pass(1000, clock);
    expect([tries, first.leadership.holds]).toEqual([3, true]);
  });

  it('is lost at once when another is seen to hold the lease', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const first = candidate(kube, 'first', clock);
    await turns();
    const lease = await kube.get(Lease, key);
    await kube.update(Lease, { ...lease, spec: { ...lease.spec, holderIdentity: 'usurper' } });
    await pass(2500, clock);
    expect([first.leadership.holds, first.leadership.lost.aborted]).toEqual([false, true]);
    expect(first.said).toEqual(['leads', 'slow', 'leads no more']);
    expect((await kube.get(Lease, key)).spec.holderIdentity).toBe('usurper');
  });

  it('is left to others at once when it is released', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const first = candidate(kube, 'first', clock);
    await turns();
    const second = candidate(kube, 'second', clock);
    await turns();
    await first.leadership.release();
    expect(first.leadership.holds).toBe(false);
    expect((await kube.get(Lease, key)).spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    await pass(2500, clock);
    expect(second.leadership.holds).toBe(true);
  });

  it('goes on while others write the lease at the same time, and a race has one winner', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const all = Array.from({ length: 5 }, (_, index) => candidate(kube, `c${index}`, clock));
    await pass(20_000, clock);
    expect(all.filter(({ leadership }) => leadership.holds)).toHaveLength(1);
    expect(all.flatMap(({ said }) => said)).toEqual(['leads']);
  });
});
