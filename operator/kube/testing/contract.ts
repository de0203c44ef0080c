// What every KubeClient must do, whatever is behind it: run against the in-memory API, the HTTP client, and a real API server.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Model, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { formatPath } from '#crds/faults.ts';
import type { KubeClient, WatchEvent } from '../client.ts';
import { Event, Lease, Pod } from '../core.ts';
import { isAlreadyExists, isConflict, isInvalid, isNotFound } from '../errors.ts';
import type { KubeError } from '../errors.ts';
import { microTime } from '../micro-time.ts';

export interface ContractSubject {
  client: KubeClient;
  /** An empty one. */
  namespace: string;
  close(): Promise<void>;
}

/** Nobody's. */
const otherUid = '00000000-0000-4000-8000-000000000000';

/** Thrown by `promise`, which must not succeed. */
export async function thrownBy(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => expect.unreachable(`no error but ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
}

export function kubeClientContract(open: () => Promise<ContractSubject>): void {
  let subject: ContractSubject;
  let client: KubeClient;
  let namespace = '';
  beforeAll(async () => {
    subject = await open();
    ({ client, namespace } = subject);
  });
  afterAll(async () => subject.close());

  const model = (name: string, metadata: object = {}, spec: Model['spec'] = {}): Model => ({
    apiVersion: 'windlass.dev/v1alpha1',
    kind: 'Model',
    metadata: { name, namespace, ...metadata },
    spec,
  });
  const pod = (name: string, spec: object = {}): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'example:1', command: ['true'] }], ...spec },
  });
  const at = (name: string) => ({ namespace, name });

  it('says which kinds are served, and in which version', async () => {
    expect(await client.serves(Model)).toBe(true);
    expect(await client.serves(Pod)).toBe(true);
    expect(await client.serves({ ...Model, version: 'v1' })).toBe(false);
    expect(await client.serves({ ...Model, group: 'example.com' })).toBe(false);
    expect(await client.serves({ ...Model, kind: 'Whale', plural: 'whales' })).toBe(false);
  });

  describe('objects', () => {
    it('get uid, version, time and generation, and come back frozen as they are stored', async () => {
      const made = await client.create(Model, model('made', { labels: { a: 'b' } }, { description: 'x' }));
      expect(made).toMatchObject({ kind: 'Model', apiVersion: 'windlass.dev/v1alpha1', spec: { description: 'x' } });
      expect(made.metadata).toMatchObject({ name: 'made', namespace, labels: { a: 'b' }, generation: 1 });
      expect(made.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
      expect(Number(made.metadata.resourceVersion)).toBeGreaterThan(0);
      expect(made.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      expect(Object.isFrozen(made.metadata.labels)).toBe(true);
      expect(await client.get(Model, at('made'))).toEqual(made);
      expect(made.metadata).not.toHaveProperty('managedFields');
    });

    it('come back with what every object has alone, where nobody reads the rest', async () => {
      const made = await client.createUnread(Pod, pod('unread'));
      const { apiVersion, kind, metadata } = await client.get(Pod, at('unread'));
      expect(made).toEqual({ apiVersion, kind, metadata });
      expect(Object.isFrozen(made.metadata)).toBe(true);
      expect(await thrownBy(client.createUnread(Pod, pod('unread')))).toSatisfy(isAlreadyExists);
    });

    it('are told apart as existing already and as missing', async () => {
      await client.create(Model, model('there'));
      expect(await thrownBy(client.create(Model, model('there')))).toSatisfy(isAlreadyExists);
      expect(await thrownBy(client.get(Model, at('missing')))).toSatisfy(isNotFound);
      expect(await thrownBy(client.update(Model, model('missing')))).toSatisfy(isNotFound);
      expect(await thrownBy(client.patch(Model, at('missing'), {}))).toSatisfy(isNotFound);
      expect(await thrownBy(client.patchStatus(Model, at('missing'), {}))).toSatisfy(isNotFound);
      expect(await thrownBy(client.delete(Model, at('missing')))).toSatisfy(isNotFound);
    });

    it('have the defaults of their kind, and are refused with the path of what is wrong', async () => {
      const job = {
        apiVersion: 'windlass.dev/v1alpha1',
        kind: 'TrainingJob',
        ...TrainingJob.definition.example,
        metadata: { name: 'job', namespace },
      } as unknown as TrainingJob;
      const made = await client.create(TrainingJob, job);
      expect(made.spec.task.pretrain?.optimizer.beta2).toBe(0.95);
      const wrong = { ...job, metadata: { name: 'wrong', namespace }, spec: { ...job.spec, suspend: 'no' } };
      const refused = await thrownBy(client.create(TrainingJob, wrong as unknown as TrainingJob));
      expect(refused).toSatisfy(isInvalid);
      expect((refused as KubeError).faults.map(({ path }) => formatPath(path))).toContain('spec.suspend');
    });

    it('conflict when they changed since they were read, and raise generation with the spec alone', async () => {
      const first = await client.create(Model, model('changing'));
      const second = await client.update(Model, { ...first, spec: { description: 'x' } });
      expect(await thrownBy(client.update(Model, { ...first, spec: {} }))).toSatisfy(isConflict);
      const third = await client.update(Model, { ...second, metadata: { ...second.metadata, labels: { a: 'b' } } });
      expect([first, second, third].map(({ metadata }) => metadata.generation)).toEqual([1, 2, 2]);
      expect((await client.update(Model, third)).metadata.resourceVersion).toBe(third.metadata.resourceVersion);
    });

    it('are merged by a patch: maps key by key, null removes, status stays', async () => {
      const made = await client.create(Model, model('patched', { annotations: { a: '1', b: '2' } }));
      await client.patchStatus(Model, at('patched'), { versions: 3 });
      const patch = { metadata: { annotations: { a: null, c: '3' } }, spec: { description: 'x' }, status: { versions: 9 } };
      const patched = await client.patch(Model, at('patched'), patch, { uid: made.metadata.uid });
      expect(patched.metadata.annotations).toEqual({ b: '2', c: '3' });
      expect([patched.spec, patched.status]).toEqual([{ description: 'x' }, { observedGeneration: 0, versions: 3 }]);
      const { resourceVersion } = made.metadata;
      expect(await thrownBy(client.patch(Model, at('patched'), { spec: {} }, { resourceVersion }))).toSatisfy(isConflict);
      expect(await thrownBy(client.patch(Model, at('patched'), { spec: {} }, { uid: otherUid }))).toSatisfy(isConflict);
    });

    it('keep their spec when status is written, and refuse a status for another version or another object', async () => {
      const made = await client.create(Model, model('status', {}, { description: 'x' }));
      const { resourceVersion, uid } = made.metadata;
      const patched = await client.patchStatus(Model, at('status'), { versions: 1 }, { resourceVersion, uid });
      const status = { observedGeneration: 0, versions: 1 };
      expect([patched.spec, patched.status, patched.metadata.generation]).toEqual([{ description: 'x' }, status, 1]);
      expect(await thrownBy(client.patchStatus(Model, at('status'), {}, { resourceVersion }))).toSatisfy(isConflict);
      expect(await thrownBy(client.patchStatus(Model, at('status'), { versions: 2 }, { uid: otherUid }))).toSatisfy(isConflict);
      const same = await client.patchStatus(Model, at('status'), { versions: 1 });
      expect(same.metadata.resourceVersion).toBe(patched.metadata.resourceVersion);
      expect((await client.patchStatus(Model, at('status'), { versions: null })).status).toEqual({ observedGeneration: 0 });
    });

    it('are listed and watched by field', async () => {
      for (const name of ['field-1', 'field-2']) await client.create(Model, model(name));
      const fields = { 'metadata.name': 'field-1' };
      expect((await client.list(Model, { namespace, fields })).items.map(({ metadata }) => metadata.name)).toEqual(['field-1']);
      const seen: string[] = [];
      const watching = new AbortController();
      for await (const event of client.watch(Model, { namespace, fields, bookmarks: true, signal: watching.signal })) {
        if (event.type === 'BOOKMARK') watching.abort();
        else seen.push(event.object.metadata.name);
      }
      expect(seen).toEqual(['field-1']);
    });

    it('are listed by namespace and label', async () => {
      await client.create(Model, model('red-1', { labels: { colour: 'red' } }));
      await client.create(Model, model('red-2', { labels: { colour: 'red' } }));
      await client.create(Model, model('blue', { labels: { colour: 'blue' } }));
      const { items, resourceVersion } = await client.list(Model, { namespace, labels: { colour: 'red' } });
      expect(items.map(({ metadata }) => metadata.name)).toEqual(['red-1', 'red-2']);
      expect(items[0]).toMatchObject({ kind: 'Model', apiVersion: 'windlass.dev/v1alpha1' });
      expect(Number(resourceVersion)).toBeGreaterThan(0);
      expect((await client.list(Model, { namespace: 'nowhere' })).items).toEqual([]);
    });

    it('of Kubernetes have times with six digits', async () => {
      const time = microTime(Date.UTC(2026, 0, 1));
      const lease: Lease = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name: 'lease', namespace },
        spec: { holderIdentity: 'me', leaseDurationSeconds: 15, acquireTime: time, renewTime: time, leaseTransitions: 0 },
      };
      expect((await client.create(Lease, lease)).spec).toEqual(lease.spec);
      const event: Event = {
        apiVersion: 'events.k8s.io/v1',
        kind: 'Event',
        metadata: { name: 'event', namespace },
        eventTime: time,
        reportingController: 'windlass.dev/operator',
        reportingInstance: 'test',
        action: 'Test',
        reason: 'Tested',
        note: 'a note',
        type: 'Normal',
        regarding: { apiVersion: 'v1', kind: 'Pod', namespace, name: 'p', uid: 'u' },
      };
      await client.create(Event, event);
      const series = { count: 2, lastObservedTime: time };
      expect((await client.patch(Event, at('event'), { series })).series).toEqual(series);
    });
  });

  describe('apply', () => {
    it('creates, merges, and removes what it no longer applies', async () => {
      const applied = (labels: Record<string, string>, description = 'two') =>
        client.apply(Model, model('applied', { labels }, { description }), { fieldManager: 'one' });
      await applied({ x: '1', y: '2' }, 'one');
      await client.patch(Model, at('applied'), { metadata: { labels: { theirs: 'z' } } });
      const after = await applied({ x: '3' });
      expect([after.metadata.labels, after.spec]).toEqual([{ x: '3', theirs: 'z' }, { description: 'two' }]);
      expect((await applied({ x: '3' })).metadata.resourceVersion).toBe(after.metadata.resourceVersion);
    });

    it('conflicts with another owner of a field, unless forced', async () => {
      const applied = (description: string, fieldManager: string, force = false) =>
        client.apply(Model, model('contested', {}, { description }), { fieldManager, force });
      await applied('one', 'one');
      expect(await thrownBy(applied('two', 'other'))).toSatisfy(isConflict);
      expect((await applied('two', 'other', true)).spec.description).toBe('two');
    });
  });

  describe('deletion', () => {
    it('takes exactly the object that was seen', async () => {
      const made = await client.create(Model, model('doomed'));
      expect(await thrownBy(client.delete(Model, at('doomed'), { uid: otherUid }))).toSatisfy(isConflict);
      expect(await client.delete(Model, at('doomed'), { uid: made.metadata.uid })).toBeUndefined();
      expect(await thrownBy(client.get(Model, at('doomed')))).toSatisfy(isNotFound);
    });

    it('waits for finalizers', async () => {
      await client.create(Model, model('held', { finalizers: ['windlass.dev/test'] }));
      const left = await client.delete(Model, at('held'));
      expect(left?.metadata).toMatchObject({ name: 'held', deletionTimestamp: expect.any(String) as string });
      await client.patch(Model, at('held'), { metadata: { finalizers: null } });
      expect(await thrownBy(client.get(Model, at('held')))).toSatisfy(isNotFound);
    });

    it('gives a pod on a node its grace period, and none to one that never started', async () => {
      await client.create(Pod, pod('unplaced', { terminationGracePeriodSeconds: 7 }));
      expect(await client.delete(Pod, at('unplaced'))).toBeUndefined();
      await client.create(Pod, pod('placed', { terminationGracePeriodSeconds: 7, nodeName: 'node-1' }));
      const left = await client.delete(Pod, at('placed'));
      expect(left?.metadata).toMatchObject({ deletionGracePeriodSeconds: 7, deletionTimestamp: expect.any(String) as string });
      expect(await client.delete(Pod, at('placed'), { gracePeriodSeconds: 0 })).toBeUndefined();
      expect(await thrownBy(client.get(Pod, at('placed')))).toSatisfy(isNotFound);
    });
  });

  describe('watch', () => {
    const labels = (value: string) => ({ labels: { watch: value } });

    it('tells what exists, then says that this was all, then goes on live', async () => {
      const made = await client.create(Model, model('existing', labels('initial')));
      await using watch = follow(client, Model, { namespace, ...labels('initial') });
      expect(await watch.said(2)).toEqual(['ADDED existing', 'END']);
      await client.patchStatus(Model, at('existing'), { versions: 1 });
      await client.create(Model, model('later', labels('initial')));
      await client.delete(Model, at('existing'));
      expect(await watch.said(5)).toEqual(['ADDED existing', 'END', 'MODIFIED existing', 'ADDED later', 'DELETED existing']);
      const versions = watch.events.map((event) =>
        Number(event.type === 'BOOKMARK' ? event.resourceVersion : event.object.metadata.resourceVersion),
      );
      expect(versions.slice(2)).toEqual(versions.slice(2).toSorted((a, b) => a - b));
      expect(versions[2]).toBeGreaterThan(Number(made.metadata.resourceVersion));
    });

    it('goes on from a version without losing or repeating a change', async () => {
      await client.create(Model, model('before', labels('resumed')));
      const { resourceVersion } = await client.list(Model, { namespace });
      await client.create(Model, model('after', labels('resumed')));
      await using watch = follow(client, Model, { namespace, ...labels('resumed'), resourceVersion });
      await client.patchStatus(Model, at('before'), { versions: 1 });
      expect(await watch.said(2)).toEqual(['ADDED after', 'MODIFIED before']);
    });

    it('with a selector sees an object appear and go as its labels change', async () => {
      await using watch = follow(client, Model, { namespace, ...labels('joining') });
      expect(await watch.said(1)).toEqual(['END']);
      await client.create(Model, model('wanderer'));
      await client.patch(Model, at('wanderer'), { metadata: labels('joining') });
      await client.patch(Model, at('wanderer'), { metadata: labels('gone') });
      expect(await watch.said(3)).toEqual(['END', 'ADDED wanderer', 'DELETED wanderer']);
    });

    it('ends without an error when it is aborted', async () => {
      const watch = follow(client, Model, { namespace });
      await watch.said(1);
      await watch[Symbol.asyncDispose]();
      expect(watch.failure).toBeUndefined();
    });
  });
}

interface Followed<T> extends AsyncDisposable {
  readonly events: WatchEvent<T>[];
  failure: unknown;
  /** The first `count` events in short words, as soon as they have come. */
  said(count: number): Promise<string[]>;
}

/** Reads a watch in the background. */
export function follow<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  options: { namespace?: string; labels?: Record<string, string>; resourceVersion?: string },
): Followed<T> {
  const abort = new AbortController();
  const events: WatchEvent<T>[] = [];
  let wake: () => void = () => {};
  const followed: Followed<T> = {
    events,
    failure: undefined,
    async said(count) {
      const words = () => events.map(wordOf).filter((word) => word !== undefined);
      while (words().length < count) {
        if (followed.failure !== undefined) throw followed.failure;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return words().slice(0, count);
    },
    async [Symbol.asyncDispose]() {
      abort.abort();
      await reading;
    },
  };
  const read = async () => {
    try {
      for await (const event of client.watch(type, { ...options, bookmarks: true, signal: abort.signal })) {
        events.push(event);
        wake();
      }
    } catch (error) {
      followed.failure = error;
      wake();
    }
  };
  const reading = read();
  return followed;
}

/** Bookmarks other than the one at the end of what exists may come at any time. */
function wordOf(event: WatchEvent<KubeObject>): string | undefined {
  if (event.type === 'BOOKMARK') return event.initialEventsEnd ? 'END' : undefined;
  return `${event.type} ${event.object.metadata.name}`;
}
