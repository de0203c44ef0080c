import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { Leadership } from './leadership.ts';
import { Manager } from './manager.ts';
import type { ManagerOptions } from './manager.ts';
import type { Store } from './store.ts';

const log = pino({ level: 'silent' });
const model = (namespace: string, name: string): Model => ({
  apiVersion: Model.apiVersion,
  kind: 'Model',
  metadata: { name, namespace },
  spec: {},
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await setImmediate();
}

function managed(options: Omit<ManagerOptions, 'log'>) {
  const manager = new Manager({ log, ...options });
  const seen: string[] = [];
  manager.add({
    name: 'model',
    primary: manager.store(Model) as unknown as Store,
    reconcile: async ({ namespace, name }, { client }) => {
      seen.push(`${namespace}/${name}`);
      await client.patchStatus(Model, { namespace, name }, { versions: 1 });
      return {};
    },
  });
  return { manager, seen };
}

function leadershipOf(kube: KubeClient, identity: string, clock: ManualClock): Leadership {
  return new Leadership({ client: kube, clock, namespace: 'default', name: 'test', identity, jitter: () => 0 });
}

describe('manager', () => {
  it('works in the namespaces it was given, and sees its own writes in each', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    for (const namespace of ['one', 'two', 'three']) await kube.create(Model, model(namespace, 'a'));
    const { manager, seen } = managed({ client: kube, clock, namespaces: ['one', 'two'] });
    await manager.start();
    await turns();
    await kube.create(Model, model('two', 'b'));
    await kube.create(Model, model('three', 'b'));
    await turns();
    expect(new Set(seen)).toEqual(new Set(['one/a', 'two/a', 'two/b']));
    const store = manager.store(Model);
    const versions = store.list().map(({ status }) => status?.versions);
    expect([versions, store.list('three')]).toEqual([[1, 1, 1], []]);
    await manager.stop();
  });

  it('watches only the objects that matter, where a label tells them', async () => {
    const kube = new MemoryKube();
    const ours = { ...model('one', 'ours'), metadata: { name: 'ours', namespace: 'one', labels: { by: 'us' } } };
    const manager = new Manager({ client: kube, log, selectors: [{ type: Model, labels: { by: 'us' } }] });
    const store = manager.store(Model);
    await kube.create(Model, ours);
    await kube.create(Model, model('one', 'theirs'));
    await manager.start();
    expect(store.list().map(({ metadata }) => metadata.name)).toEqual(['ours']);
    await manager.stop();
  });

  it('keeps what it knows of one namespace when another is listed anew', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const cut = new Set<() => void>();
    const shaky = Object.create(kube) as KubeClient;
    shaky.watch = async function* (type, options) {
      for await (const event of kube.watch(type, options)) {
        if (options.namespace === 'one' && cut.size > 0) throw new KubeError('Expired', 'too old');
        yield event;
      }
    };
    await kube.create(Model, model('one', 'a'));
    await kube.create(Model, model('two', 'a'));
    const manager = new Manager({ client: shaky, clock, log, namespaces: ['one', 'two'] });
    const store = manager.store(Model);
    await manager.start();
    cut.add(() => {});
    await kube.create(Model, model('one', 'b'));
    await turns();
    cut.clear();
    clock.advance(60_000);
    await turns();
    const names = store.list().map(({ metadata: { namespace, name } }) => `${namespace}/${name}`);
    expect(names.toSorted()).toEqual(['one/a', 'one/b', 'two/a']);
    await manager.stop();
  });

  it('stands by with full stores, and begins at once when the leader leaves', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    await kube.create(Model, model('default', 'a'));
    const first = managed({ client: kube, clock, leadership: leadershipOf(kube, 'first', clock) });
    await first.manager.start();
    await turns();
    const second = managed({ client: kube, clock, leadership: leadershipOf(kube, 'second', clock) });
    const started = second.manager.start();
    await turns();
    expect([first.seen.length > 0, second.manager.synced, second.seen]).toEqual([true, true, []]);
    await first.manager.stop();
    const before = first.seen.length;
    clock.advance(2000);
    await turns();
    await started;
    await turns();
    expect(second.seen).toContain('default/a');
    expect(first.seen).toHaveLength(before);
    await second.manager.stop();
  });

  it('that never led can be stopped', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const first = managed({ client: kube, clock, leadership: leadershipOf(kube, 'first', clock) });
    await first.manager.start();
    const second = managed({ client: kube, clock, leadership: leadershipOf(kube, 'second', clock) });
    const started = second.manager.start();
    await turns();
    await second.manager.stop();
    await started;
    expect(second.seen).toEqual([]);
    await first.manager.stop();
  });

  it('writes nothing more once it has lost the lead', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const leadership = leadershipOf(kube, 'first', clock);
    const { manager, seen } = managed({ client: kube, clock, leadership });
    await manager.start();
    const now = clock.now() + 11_000;
    clock.now = () => now;
    await kube.create(Model, model('default', 'late'));
    await turns();
    expect(seen).toContain('default/late');
    expect((await kube.get(Model, { namespace: 'default', name: 'late' })).status).toEqual({ observedGeneration: 0 });
    await manager.stop();
  });

  it('names the kinds that it could not read in time', async () => {
    const [kube, clock] = [new MemoryKube(), new ManualClock()];
    const down = Object.create(kube) as KubeClient;
    down.watch = async function* () {
      yield* [];
      throw new KubeError('Forbidden', 'may not list');
    };
    const { manager } = managed({ client: down, clock, syncTimeoutMs: 120_000 });
    const started = manager.start();
    const refused = expect(started).rejects.toThrow('what exists of Model could not be read within 120 s');
    await turns();
    clock.advance(120_000);
    await refused;
    await manager.stop();
  });
});
