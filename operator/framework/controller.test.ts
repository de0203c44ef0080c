import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Event, Pod } from '#operator/kube/core.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { withWriteHook } from '#operator/kube/write-hook.ts';
import { TerminalError } from './controller.ts';
import type { ControllerSpec } from './controller.ts';
import { Manager } from './manager.ts';
import type { Store } from './store.ts';

const namespace = 'default';
const model = (name: string): Model => ({
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'Model',
  metadata: { name, namespace },
  spec: {},
});

async function turns(count = 30): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate();
}

async function managed(
  reconcile: (manager: Manager) => ControllerSpec['reconcile'],
  client?: (kube: MemoryKube) => KubeClient,
  more: Partial<ControllerSpec> = {},
) {
  const kube = new MemoryKube();
  const clock = new ManualClock();
  const manager = new Manager({ client: client?.(kube) ?? kube, clock, log: pino({ level: 'silent' }) });
  const models = manager.store(Model);
  const pods = manager.store(Pod);
  manager.add({
    name: 'model',
    primary: models as unknown as Store,
    owns: [pods as unknown as Store],
    reconcile: reconcile(manager),
    ...more,
  });
  await manager.start();
  const metric = async (name: string) => {
    const line = (await manager.metricsText()).split('\n').find((candidate) => candidate.startsWith(name));
    return Number(line?.split(' ').at(-1));
  };
  return { kube, clock, manager, models, pods, metric };
}

describe('controller', () => {
  it('reconciles an object when it, or what it owns, changes', async () => {
    const seen: string[] = [];
    const { kube, manager } = await managed(() => async ({ name }) => {
      seen.push(name);
      return {};
    });
    const owner = await kube.create(Model, model('a'));
    await turns();
    const ownerReferences = [
      { apiVersion: owner.apiVersion, kind: 'Model', name: 'a', uid: owner.metadata.uid!, controller: true },
    ];
    await kube.create(Pod, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace, ownerReferences },
      spec: { restartPolicy: 'Never', containers: [] },
    });
    await turns();
    expect(seen).toEqual(['a', 'a']);
    await manager.stop();
  });

  it('tries again after a failure, later each time, and counts it', async () => {
    let calls = 0;
    const { kube, clock, manager, metric } = await managed(() => async () => {
      calls += 1;
      if (calls < 4) throw new TypeError('oops');
      return {};
    });
    await kube.create(Model, model('a'));
    await turns();
    for (const delay of [5, 10, 20]) {
      clock.advance(delay - 1);
      await turns();
      const before = calls;
      clock.advance(1);
      await turns();
      expect(calls).toBe(before + 1);
    }
    expect(await metric('controller_runtime_reconcile_errors_total')).toBe(3);
    expect(await metric('controller_runtime_reconcile_panics_total')).toBe(3);
    expect(await metric('workqueue_retries_total')).toBe(3);
    await manager.stop();
  });

  it('does not try again after a terminal error, nor count a conflict as one', async () => {
    const errors = [new KubeError('Conflict', 'changed'), new TerminalError('never')];
    let calls = 0;
    const { kube, clock, manager, metric } = await managed(() => async () => {
      throw errors[calls++]!;
    });
    await kube.create(Model, model('a'));
    await turns();
    clock.advance(5);
    await turns();
    clock.advance(10_000_000);
    await turns();
    expect(calls).toBe(2);
    expect(await metric('controller_runtime_reconcile_errors_total')).toBe(1);
    expect(await metric('controller_runtime_terminal_reconcile_errors_total')).toBe(1);
    await manager.stop();
  });

  it('aborts a reconcile that takes too long, and those that run when it stops', async () => {
    const ends: string[] = [];
    const { kube, clock, manager, metric } = await managed(
      () =>
        ({ name }, { signal }) =>
          new Promise((resolve) =>
            signal.addEventListener('abort', () => {
              ends.push(name);
              resolve({});
            }),
          ),
      undefined,
      { timeoutMs: 1000, workers: 2 },
    );
    await kube.create(Model, model('slow'));
    await turns();
    clock.advance(1000);
    await turns();
    expect([ends, await metric('controller_runtime_reconcile_timeouts_total')]).toEqual([['slow'], 1]);
    await kube.create(Model, model('last'));
    await turns();
    await manager.stop();
    expect(ends).toEqual(['slow', 'last']);
  });

  it('sees its own writes: a watch that lags by seconds leads to no second child', async () => {
    let release: (() => void)[] = [];
    let lagging = true;
    const lag = (kube: MemoryKube): KubeClient => {
      const client = Object.create(kube) as KubeClient;
      client.watch = async function* (type, options) {
        for await (const event of kube.watch(type, options)) {
          if (type.kind === 'Pod' && lagging && event.type !== 'BOOKMARK')
            await new Promise<void>((resolve) => release.push(resolve));
          yield event;
        }
      };
      for (const method of ['get', 'list', 'create', 'update', 'patch', 'apply', 'patchStatus', 'delete'] as const) {
        Object.defineProperty(client, method, { value: kube[method].bind(kube) });
      }
      return client;
    };
    let made = 0;
    const { kube, manager } = await managed((manager) => {
      const pods = manager.store(Pod);
      return async ({ name }, { client }) => {
        if (pods.list().length > 0) return {};
        made += 1;
        const metadata = { name: `${name}-${made}`, namespace };
        await client.create(Pod, { apiVersion: 'v1', kind: 'Pod', metadata, spec: { restartPolicy: 'Never', containers: [] } });
        return {};
      };
    }, lag);
    await kube.create(Model, model('a'));
    await turns();
    for (let change = 0; change < 5; change++) {
      await kube.patchStatus(Model, { namespace, name: 'a' }, { versions: change });
      await turns();
    }
    expect(made).toBe(1);
    lagging = false;
    for (const go of release) go();
    release = [];
    await turns();
    expect(made).toBe(1);
    await manager.stop();
  });
});

describe('events', () => {
  it('of the same kind become one object with a count; another note is another event', async () => {
    const { kube, clock, manager } = await managed(() => async () => ({}));
    const object = await kube.create(Model, model('a'));
    const happening = { type: 'Warning', reason: 'Failed', action: 'Fail', note: 'no disk' } as const;
    for (let repeat = 0; repeat < 3; repeat++) manager.events.emit(object, happening);
    manager.events.emit(object, { ...happening, note: 'other' });
    await manager.events.flush();
    const all = (await kube.list(Event)).items;
    expect(all.map(({ note, series, regarding }) => [note, series?.count, regarding.name])).toEqual([
      ['no disk', 3, 'a'],
      ['other', undefined, 'a'],
    ]);
    expect(all[0]?.eventTime).toBe('2026-01-01T00:00:00.000000Z');
    clock.advance(6 * 60_000);
    manager.events.emit(object, happening);
    await manager.events.flush();
    expect((await kube.list(Event)).items).toHaveLength(3);
    await manager.stop();
  });

  it('of a series are counted here, and told when the series begins, every half hour, and when it ends', async () => {
    const written: string[] = [];
    const { kube, clock, manager } = await managed(
      () => async () => ({}),
      (kube) => withWriteHook(kube, { before: ({ verb, type }) => type.kind === 'Event' && written.push(verb) }),
    );
    const object = await kube.create(Model, model('a'));
    const happening = { type: 'Warning', reason: 'Failed', action: 'Fail', note: 'no disk' } as const;
    const count = async () => (await kube.list(Event)).items.map(({ series }) => series?.count);
    const minutes = async (passed: number) => {
      clock.advance(passed * 60_000);
      await turns();
    };
    for (let repeat = 0; repeat < 3; repeat++) manager.events.emit(object, happening);
    await turns();
    expect([written, await count()]).toEqual([['create', 'patch'], [3]]);
    for (let passed = 0; passed < 40; passed += 5) {
      await minutes(5);
      manager.events.emit(object, happening);
    }
    expect(await count()).toEqual([8]);
    await minutes(20);
    expect([written, await count()]).toEqual([['create', 'patch', 'patch', 'patch'], [11]]);
    manager.events.emit(object, happening);
    await turns();
    expect(await count()).toEqual([11, undefined]);
    await manager.stop();
  });

  it('that were deleted meanwhile are made again', async () => {
    const { kube, manager } = await managed(() => async () => ({}));
    const object = await kube.create(Model, model('a'));
    const happening = { type: 'Normal', reason: 'R', action: 'A', note: 'n' } as const;
    manager.events.emit(object, happening);
    await manager.events.flush();
    const [event] = (await kube.list(Event)).items;
    await kube.delete(Event, event!.metadata);
    manager.events.emit(object, happening);
    await manager.events.flush();
    expect((await kube.list(Event)).items.map(({ series }) => series?.count)).toEqual([2]);
    await manager.stop();
  });

  it('of one object are limited, and a failing API loses them without harm', async () => {
    const { kube, manager } = await managed(() => async () => ({}));
    const object = await kube.create(Model, model('a'));
    for (let index = 0; index < 100; index++)
      manager.events.emit(object, { type: 'Normal', reason: 'R', action: 'A', note: `n${index}` });
    await manager.events.flush();
    expect((await kube.list(Event)).items).toHaveLength(25);
    await manager.stop();
  });
});
