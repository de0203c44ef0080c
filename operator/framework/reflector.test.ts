import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { reflect } from './reflector.ts';
import { Store } from './store.ts';

const model = (name: string, labels: Record<string, string> = {}): Model => ({
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'Model',
  metadata: { name, namespace: 'default', labels },
  spec: {},
});

/** A client whose lists and watches fail when `fault` says so. */
function faulty(kube: MemoryKube, fault: () => Error | undefined): KubeClient {
  const client = Object.create(kube) as KubeClient;
  client.list = async (type, options) => {
    const error = fault();
    if (error) throw error;
    return kube.list(type, options);
  };
  client.watch = async function* (type, options) {
    for await (const event of kube.watch(type, options)) {
      const error = fault();
      if (error) throw error;
      yield event;
    }
  };
  return client;
}

async function reflected(kube: MemoryKube, client: KubeClient = kube) {
  const clock = new ManualClock();
  const store = new Store(Model, { team: (object) => [object.metadata.labels?.['team'] ?? ''] });
  const abort = new AbortController();
  const errors: string[] = [];
  const done = reflect({ client, store, clock, jitter: () => 0, onError: (_, what) => errors.push(what) }, abort.signal);
  const settle = async () => {
    for (let round = 0; round < 40; round++) {
      await setImmediate();
      if (clock.nextTimerMs !== undefined) clock.advance(clock.nextTimerMs);
    }
  };
  await settle();
  return { store, clock, errors, settle, stop: () => (abort.abort(), done) };
}

const names = (objects: readonly Model[]) => objects.map(({ metadata }) => metadata.name).sort();

describe('reflector', () => {
  it('keeps the store equal to the API', async () => {
    const kube = new MemoryKube();
    await kube.create(Model, model('a'));
    const { store, settle, stop } = await reflected(kube);
    expect([store.synced, names(store.list())]).toEqual([true, ['a']]);
    await kube.create(Model, model('b', { team: 'x' }));
    await kube.delete(Model, { namespace: 'default', name: 'a' });
    await settle();
    expect(names(store.list())).toEqual(['b']);
    expect(names(store.byIndex('team', 'x'))).toEqual(['b']);
    expect(names(store.byIndex('team', ''))).toEqual([]);
    await stop();
  });

  it('notices an object that was deleted and made again under the same name while it was away', async () => {
    const kube = new MemoryKube();
    const first = await kube.create(Model, model('a'));
    let down = false;
    const { store, settle, stop } = await reflected(
      kube,
      faulty(kube, () => (down ? new KubeError('Unavailable', 'down') : undefined)),
    );
    const changes: string[] = [];
    store.onChange(({ object, old }) =>
      changes.push(`${old?.metadata.uid === first.metadata.uid ? 'old' : '-'} ${object ? 'new' : '-'}`),
    );
    down = true;
    await kube.delete(Model, { namespace: 'default', name: 'a' });
    await kube.create(Model, model('a'));
    await setImmediate();
    kube.compact();
    down = false;
    await settle();
    expect(changes).toEqual(['old -', '- new']);
    await stop();
  });

  it('backs off while the API is down and never gives up', async () => {
    const kube = new MemoryKube();
    const clock = new ManualClock();
    const store = new Store(Model);
    let down = true;
    const abort = new AbortController();
    const client = faulty(kube, () => (down ? new KubeError('Unavailable', 'down') : undefined));
    const done = reflect({ client, store, clock, jitter: () => 0 }, abort.signal);
    const delays: number[] = [];
    for (let round = 0; round < 8; round++) {
      await setImmediate();
      delays.push(clock.nextTimerMs!);
      clock.advance(clock.nextTimerMs!);
    }
    expect(delays).toEqual([800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    down = false;
    await setImmediate();
    clock.advance(30_000);
    await setImmediate();
    expect(store.synced).toBe(true);
    abort.abort();
    await done;
  });

  it('goes on at once after a watch that ended well, and waits after one that was short and empty', async () => {
    const kube = new MemoryKube();
    const clock = new ManualClock();
    const versions: (string | undefined)[] = [];
    const client = Object.create(kube) as KubeClient;
    client.watch = async function* (type, options) {
      versions.push(options.resourceVersion);
      if (versions.length === 2) clock.advance(300_000);
      if (versions.length > 1) return;
      for await (const event of kube.watch(type, options)) {
        yield event;
        if (event.type === 'BOOKMARK') return;
      }
    };
    const store = new Store(Model);
    const abort = new AbortController();
    const done = reflect({ client, store, clock, jitter: () => 0 }, abort.signal);
    await setImmediate();
    await setImmediate();
    // The first told all that exists, the second lasted five minutes, the third said nothing and was over.
    expect([versions, clock.nextTimerMs]).toEqual([[undefined, '0', '0'], 800]);
    abort.abort();
    await done;
  });

  it('waits as long as the server asks to', async () => {
    const clock = new ManualClock();
    const client = Object.create(new MemoryKube()) as KubeClient;
    client.watch = async function* () {
      yield* [];
      throw new KubeError('TooManyRequests', 'later', { retryAfterMs: 20_000 });
    };
    const abort = new AbortController();
    const done = reflect({ client, store: new Store(Model), clock, jitter: () => 0 }, abort.signal);
    await setImmediate();
    expect(clock.nextTimerMs).toBe(20_000);
    abort.abort();
    await done;
  });

  it('misses nothing, whatever fails in between', async () => {
    const step = fc.record({
      what: fc.constantFrom('create', 'delete', 'label', 'break', 'mend', 'compact', 'settle'),
      name: fc.constantFrom('a', 'b', 'c', 'd'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const kube = new MemoryKube();
        let broken = false;
        const { store, settle, stop } = await reflected(
          kube,
          faulty(kube, () => (broken ? new Error('cut') : undefined)),
        );
        const seen = new Map<string, string>();
        store.onChange(({ object, old }) => {
          if (old && !object) seen.delete(old.metadata.name);
          if (object) seen.set(object.metadata.name, object.metadata.uid!);
        });
        for (const { what, name } of steps) {
          const key = { namespace: 'default', name };
          const current = (await kube.list(Model)).items.find(({ metadata }) => metadata.name === name);
          if (what === 'create' && !current) await kube.create(Model, model(name));
          if (what === 'delete' && current) await kube.delete(Model, key);
          if (what === 'label' && current)
            await kube.update(Model, { ...current, metadata: { ...current.metadata, labels: { n: String(Math.random()) } } });
          if (what === 'break') broken = true;
          if (what === 'mend') broken = false;
          if (what === 'compact') kube.compact();
          if (what === 'settle') await settle();
        }
        broken = false;
        await settle();
        await settle();
        const truth = (await kube.list(Model)).items;
        expect(new Set(store.list())).toEqual(new Set(truth));
        expect(seen).toEqual(new Map(truth.map(({ metadata }) => [metadata.name, metadata.uid!])));
        await stop();
      }),
      { numRuns: 60 },
    );
  });
});
