import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { reply, startRestServer, status } from '#operator/kube/testing/rest-server.ts';
import { Transport } from '#operator/kube/transport.ts';
import { reflect } from './reflector.ts';
import { Store } from './store.ts';

const namespace = 'default';
const model = (name: string): Model => ({ apiVersion: Model.apiVersion, kind: 'Model', metadata: { name, namespace }, spec: {} });

/** Time as it is, but every wait is short. */
const hasty: Clock = {
  now: () => Date.now(),
  after(_, fire) {
    const timer = globalThis.setTimeout(fire, 1);
    return () => clearTimeout(timer);
  },
};

const change = fc.record({
  what: fc.constantFrom('create', 'label', 'delete', 'cut', 'compact', 'refuse', 'fail', 'half', 'pages', 'rest'),
  name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
});

describe('reflector over HTTP', () => {
  it('ends equal to the API, whatever was cut, refused, forgotten or broken on the way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 5, maxLength: 40 }), async (changes) => {
        const server = await startRestServer();
        server.pageSize = 2;
        const { kube } = server;
        let next: 'refuse' | 'fail' | 'half' | undefined;
        server.intercept = (_, response) => {
          const fault = next;
          next = undefined;
          if (fault === 'refuse') reply(response, 429, status(429, 'TooManyRequests', 'later'), { 'retry-after': '0' });
          if (fault === 'fail') reply(response, 500, status(500, 'InternalError', 'etcd is away'));
          if (fault === 'half') {
            response.writeHead(200);
            response.end('{"type":"ADDED","object":{"metadata":{"name":"half"');
          }
          return fault !== undefined;
        };
        const transport = new Transport(server.access(), { clock: hasty });
        const store = new Store(Model);
        const seen = new Map<string, string>();
        store.onChange(({ object, old }) => {
          if (old && !object) seen.delete(old.metadata.name);
          if (object) seen.set(object.metadata.name, `${object.metadata.uid} ${object.metadata.resourceVersion}`);
        });
        const abort = new AbortController();
        const done = reflect({ client: new HttpKube(transport), store, clock: hasty }, abort.signal);
        for (const { what, name } of changes) {
          const key = { namespace, name };
          const exists = (await kube.list(Model)).items.some(({ metadata }) => metadata.name === name);
          if (what === 'create' && !exists) await kube.create(Model, model(name));
          if (what === 'label' && exists)
            await kube.patch(Model, key, { metadata: { labels: { at: String(performance.now()) } } });
          if (what === 'delete' && exists) await kube.delete(Model, key);
          if (what === 'cut') server.cut();
          if (what === 'compact') kube.compact();
          if (what === 'pages') server.watchList = !server.watchList;
          if (what === 'refuse' || what === 'fail' || what === 'half') next = what;
          if (what === 'rest') await setTimeout(3);
        }
        next = undefined;
        const truth = (await kube.list(Model)).items;
        await vi.waitFor(
          () => {
            expect(new Set(store.list())).toEqual(new Set(truth));
            expect(store.synced).toBe(true);
          },
          { timeout: 60_000, interval: 5 },
        );
        const expected = truth.map(({ metadata }) => [metadata.name, `${metadata.uid} ${metadata.resourceVersion}`] as const);
        expect(seen).toEqual(new Map(expected));
        abort.abort();
        await done;
        transport.close();
        await server.close();
      }),
      { numRuns: 40 },
    );
  }, 120_000);
});
