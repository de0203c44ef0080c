import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '#operator/kube/clock.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { withWriteHook } from '#operator/kube/write-hook.ts';
import { OptionalKind } from './optional-kind.ts';

const askAgainMs = 300_000;
const group = (name: string): PodGroup => ({
  apiVersion: 'scheduling.k8s.io/v1beta1',
  kind: 'PodGroup',
  metadata: { name, namespace: 'default' },
  spec: { schedulingPolicy: { gang: { minCount: 2 } } },
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await setImmediate();
}

/** An API whose answers on the kind can be changed while it is watched. */
function setUp({ served = true, failure }: { served?: boolean; failure?: KubeError } = {}) {
  const clock = new ManualClock();
  const kube = new MemoryKube({ clock });
  const api = { served, failure, asked: 0 };
  let watch = new AbortController();
  const client: KubeClient = {
    ...withWriteHook(kube, {}),
    serves: async () => {
      api.asked += 1;
      if (api.failure) throw api.failure;
      return api.served;
    },
    async *watch(type, options) {
      if (api.failure) throw api.failure;
      if (!api.served) throw new KubeError('NotFound', 'the server could not find the requested resource');
      watch = new AbortController();
      const signal = AbortSignal.any([options.signal, watch.signal]);
      yield* kube.watch(type, { ...options, signal });
    },
  };
  const errors: unknown[] = [];
  const kind = new OptionalKind(PodGroup, { client, clock, onError: (error) => errors.push(error) });
  const changes: (boolean | undefined)[] = [];
  kind.onChange(() => changes.push(kind.served));
  const stop = new AbortController();
  const running = kind.run(stop.signal);
  return {
    clock,
    kube,
    api,
    kind,
    changes,
    errors,
    cut: () => watch.abort(),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

describe('a kind that the cluster may lack', () => {
  it('is served when the store holds what exists', async () => {
    await using test = setUp();
    await test.kube.create(PodGroup, group('one'));
    expect(test.kind.served).toBeUndefined();
    await test.kind.whenKnown();
    expect(test.kind.served).toBe(true);
    expect(test.kind.store.list().map(({ metadata }) => metadata.name)).toEqual(['one']);
    await test.kube.create(PodGroup, group('two'));
    await turns();
    expect(test.kind.store.size).toBe(2);
    expect(test.errors).toEqual([]);
  });

  it('is asked for by one read at a time where it is missing, and found when it comes', async () => {
    await using test = setUp({ served: false });
    await test.kind.whenKnown();
    expect(test.kind.served).toBe(false);
    for (let waited = 0; waited < 4; waited++) {
      test.clock.advance(askAgainMs);
      await turns();
    }
    expect(test.api.asked).toBe(5);
    test.api.served = true;
    test.clock.advance(askAgainMs);
    await turns();
    expect(test.changes).toEqual([false, true]);
    expect(test.errors).toEqual([]);
  });

  it('is gone, with all that the store held, when the API has it no more', async () => {
    await using test = setUp();
    await test.kube.create(PodGroup, group('one'));
    await test.kind.whenKnown();
    test.api.served = false;
    test.cut();
    await turns();
    test.clock.advance(60_000);
    await turns();
    expect(test.changes).toEqual([true, false]);
    expect(test.kind.store.size).toBe(0);
  });

  it('stays known while the API fails for another reason', async () => {
    await using test = setUp();
    await test.kind.whenKnown();
    test.api.failure = new KubeError('Unavailable', 'the server is restarting');
    test.cut();
    await turns();
    expect(test.kind.served).toBe(true);
    test.api.failure = undefined;
    await test.kube.create(PodGroup, group('one'));
    for (let waited = 0; waited < 8; waited++) {
      test.clock.advance(30_000);
      await turns();
    }
    expect(test.kind.store.size).toBe(1);
    expect(test.changes).toEqual([true]);
  });

  it('is not known before the API has answered', async () => {
    await using test = setUp({ failure: new KubeError('Unavailable', 'the server is starting') });
    await turns();
    expect(test.kind.served).toBeUndefined();
    expect(test.errors).toHaveLength(1);
    test.api.failure = undefined;
    test.clock.advance(30_000);
    await test.kind.whenKnown();
    expect(test.kind.served).toBe(true);
  });

  it('counts as missing where the operator has no right to it', async () => {
    await using test = setUp();
    const forbidden = new KubeError('Forbidden', 'podgroups.scheduling.k8s.io is forbidden');
    await test.kind.whenKnown();
    test.api.failure = forbidden;
    test.cut();
    await turns();
    test.clock.advance(60_000);
    await turns();
    expect(test.changes).toEqual([true, false]);
    expect(test.errors).toContain(forbidden);
  });
});
