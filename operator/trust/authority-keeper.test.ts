// The authority in its Secret: made once however many operators there are, rotated by the one that leads, read by all.
import { expect, it, vi } from 'vitest';
import { authoritySecret } from '#operator/controllers/access.ts';
import { guardedKube } from '#operator/controllers/guarded-kube.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import { Secret } from '#operator/kube/core.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { bundleOf } from './authority.ts';
import type { AuthorityRules } from './authority.ts';
import { AuthorityKeeper } from './authority-keeper.ts';

const hour = 3_600_000;
const rules: AuthorityRules = { authorityMs: 240 * hour, certificateMs: 24 * hour };
const key = { namespace: 'windlass-system', name: authoritySecret };

/** Operators of one cluster; `leads` of each may be changed. */
function cluster(rulesOfAll = rules) {
  const clock = new ManualClock();
  const kube = new MemoryKube({ clock });
  const operator = (leads: boolean) => {
    const state = { leads, steps: [] as string[] };
    const keeper = new AuthorityKeeper({
      client: guardedKube(kube, new Set()),
      clock,
      secret: key,
      rules: rulesOfAll,
      leads: () => state.leads,
      onStep: (step) => state.steps.push(step),
    });
    return Object.assign(state, { keeper });
  };
  return { clock, kube, operator };
}

it('only the operator that leads makes an authority, and the others read it', async () => {
  const { operator } = cluster();
  const [leader, other] = [operator(true), operator(false)];
  await other.keeper.look();
  expect(other.keeper.trust).toBeUndefined();
  await leader.keeper.look();
  await other.keeper.look();
  expect(leader.steps).toEqual(['make']);
  expect(other.keeper.trust).toEqual(leader.keeper.trust);
});

it('of two that both believe to lead, one makes it and both use the same', async () => {
  const { operator } = cluster();
  const [one, two] = [operator(true), operator(true)];
  await Promise.all([one.keeper.look(), two.keeper.look()]);
  expect([...one.steps, ...two.steps]).toEqual(['make']);
  expect(one.keeper.trust).toBeDefined();
  expect(two.keeper.trust).toEqual(one.keeper.trust);
});

it('rotates when it is due, tells who listens, and writes the bundle for people', async () => {
  const { operator, clock, kube } = cluster();
  const { keeper, steps } = operator(true);
  const bundles: string[] = [];
  keeper.onChange(({ authority }) => bundles.push(bundleOf(authority)));
  for (let passed = 0; passed < 200; passed += 1) {
    await keeper.look();
    clock.advance(hour);
  }
  expect(steps).toEqual(['make', 'announce', 'promote', 'retire']);
  expect(bundles.map((bundle) => bundle.match(/BEGIN CERTIFICATE/g)?.length)).toEqual([1, 2, 2, 1]);
  expect(Buffer.from((await kube.get(Secret, key)).data!['ca.crt']!, 'base64').toString()).toBe(bundles.at(-1));
});

it('one that takes over goes on with the authority that is there', async () => {
  const { operator } = cluster();
  const [first, second] = [operator(true), operator(false)];
  await first.keeper.look();
  first.leads = false;
  second.leads = true;
  await second.keeper.look();
  expect(second.steps).toEqual([]);
  expect(second.keeper.trust).toEqual(first.keeper.trust);
});

it('leaves a Secret alone that it can not read, and says how to mend it', async () => {
  const { operator, kube } = cluster();
  const { keeper } = operator(true);
  await keeper.look();
  const found = await kube.get(Secret, key);
  const spoilt = { ...found, data: { 'trust.json': Buffer.from('{').toString('base64') } };
  await kube.update(Secret, spoilt);
  await expect(keeper.look()).rejects.toThrow(/windlass-system\/windlass-ca can't be read; restore it, or delete it/);
  expect((await kube.get(Secret, key)).data).toEqual(spoilt.data);
});

it('keeps up where certificates live for seconds', async () => {
  const second = 1_000;
  const { operator, clock } = cluster({ authorityMs: 180 * second, certificateMs: 30 * second });
  const { keeper, steps } = operator(true);
  const stop = new AbortController();
  const running = keeper.run(stop.signal);
  for (const end = clock.now() + 600 * second; clock.now() < end;) {
    const nextMs = await vi.waitFor(() => clock.nextTimerMs ?? expect.fail('it looks'), { interval: 1, timeout: 30_000 });
    clock.advance(nextMs);
  }
  stop.abort();
  await running;
  expect(steps.filter((step) => step === 'make')).toHaveLength(1);
  expect(steps.filter((step) => step === 'promote').length).toBeGreaterThan(4);
});
