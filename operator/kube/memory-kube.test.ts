import { describe, expect, it } from 'vitest';
import { Model, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import { ManualClock } from './clock.ts';
import type { WatchEvent } from './client.ts';
import { Pod } from './core.ts';
import { isAlreadyExists, isConflict, isExpired, isInvalid, isNotFound } from './errors.ts';
import { MemoryKube } from './memory-kube.ts';
import type { Snapshot } from './memory-kube.ts';
import { withWriteHook } from './write-hook.ts';

const namespace = 'default';
const model = (name: string, extra: object = {}): Model => ({
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'Model',
  metadata: { name, namespace, ...extra },
  spec: {},
});
const pod = (name: string, extra: object = {}, spec: object = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, ...extra },
  spec: { restartPolicy: 'Never', containers: [], ...spec },
});
const job = (): TrainingJob =>
  ({
    apiVersion: 'windlass.dev/v1alpha1',
    kind: 'TrainingJob',
    ...TrainingJob.definition.example,
    metadata: { name: 'moby', namespace },
  }) as never;
const error = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );

/** Reads events until `count` came. */
async function take<T>(events: AsyncIterable<WatchEvent<T>>, count: number): Promise<WatchEvent<T>[]> {
  const taken: WatchEvent<T>[] = [];
  for await (const event of events) if (taken.push(event) >= count) break;
  return taken;
}
const said = (events: WatchEvent<KubeObject>[]) =>
  events.map((event) => (event.type === 'BOOKMARK' ? event.type : `${event.type} ${event.object.metadata.name}`));

describe('objects', () => {
  it('get uid, version, time and generation, and defaults', async () => {
    const kube = new MemoryKube({ clock: new ManualClock(), uid: () => 'u1' });
    const made = await kube.create(TrainingJob, job());
    expect(made.metadata).toEqual({
      name: 'moby',
      namespace,
      uid: 'u1',
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
    });
    expect(made.spec.task.pretrain?.optimizer.beta2).toBe(0.95);
    expect(await error(kube.create(TrainingJob, job()))).toSatisfy(isAlreadyExists);
    expect(await error(kube.get(TrainingJob, { namespace, name: 'other' }))).toSatisfy(isNotFound);
  });

  it('are refused with every fault and its path', async () => {
    const wrong = job() as unknown as { spec: Record<string, unknown> };
    wrong.spec = { ...wrong.spec, stpes: 1, suspend: 'no' };
    const thrown = await error(new MemoryKube().create(TrainingJob, wrong as never));
    expect(isInvalid(thrown)).toBe(true);
    expect((thrown as Error).message).toContain('spec.suspend: must be true or false; got "no"');
    expect((thrown as Error).message).toContain('spec.stpes: unknown field');
  });

  it('conflict when they changed since they were read', async () => {
    const kube = new MemoryKube();
    const first = await kube.create(Model, model('a'));
    await kube.update(Model, { ...first, spec: { description: 'x' } });
    expect(await error(kube.update(Model, { ...first, spec: {} }))).toSatisfy(isConflict);
    expect(await error(kube.patchStatus(Model, first.metadata, {}, { resourceVersion: '1' }))).toSatisfy(isConflict);
    expect(await error(kube.delete(Model, first.metadata, { uid: 'another' }))).toSatisfy(isConflict);
  });

  it('raise generation when the spec changes, not for labels or status, and nothing when nothing changes', async () => {
    const kube = new MemoryKube();
    const made = await kube.create(Model, model('a'));
    const labelled = await kube.update(Model, { ...made, metadata: { ...made.metadata, labels: { x: 'y' } } });
    const patched = await kube.patchStatus(Model, made.metadata, { versions: 2 });
    expect([labelled.metadata.generation, patched.metadata.generation]).toEqual([1, 1]);
    const changed = await kube.update(Model, { ...patched, spec: { description: 'x' } });
    expect([changed.metadata.generation, changed.status]).toEqual([2, { observedGeneration: 0, versions: 2 }]);
    expect(await kube.update(Model, changed)).toBe(changed);
  });

  it('keep immutable fields as the CRD does', async () => {
    const kube = new MemoryKube();
    const made = await kube.create(TrainingJob, job());
    const thrown = await error(kube.update(TrainingJob, { ...made, spec: { ...made.spec, output: { model: 'other' } } }));
    expect((thrown as Error).message).toContain("spec.output: output can't change after creation");
    const suspended = await kube.update(TrainingJob, { ...made, spec: { ...made.spec, suspend: true } });
    expect(suspended.spec.suspend).toBe(true);
    const version = {
      ...ModelVersion.definition.example,
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'ModelVersion',
    } as never as ModelVersion;
    const published = await kube.create(ModelVersion, { ...version, metadata: { name: 'moby-1', namespace } });
    expect(await error(kube.update(ModelVersion, { ...published, spec: { ...published.spec, bytes: 1 } }))).toSatisfy(isInvalid);
  });

  it('can not be changed by who reads them', async () => {
    const made = await new MemoryKube().create(Model, model('a'));
    expect(() => (made.spec.description = 'x')).toThrow(TypeError);
  });
});

describe('objects of an earlier version', () => {
  it('get the defaults of new fields, and lose what has another form now', async () => {
    const first = new MemoryKube();
    await first.create(TrainingJob, job());
    const snapshot = JSON.parse(JSON.stringify(first.snapshot())) as Snapshot;
    const stored = snapshot.objects[0]!.object as unknown as { spec: Record<string, unknown>; status?: object };
    delete stored.spec['parallelism'];
    stored.status = { ranks: 1, restarts: 2, state: 'Running' };
    const kube = new MemoryKube({ snapshot });
    const read = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect([read.spec.parallelism.dataShard, read.status]).toEqual([1, { restarts: 2, state: 'Running' }]);
    await kube.patchStatus(TrainingJob, { namespace, name: 'moby' }, { restarts: 3 });
  });
});

describe('deletion', () => {
  it('takes owned objects along, at every depth', async () => {
    const kube = new MemoryKube();
    const owner = (object: KubeObject) => ({
      ownerReferences: [
        { apiVersion: object.apiVersion, kind: object.kind, name: object.metadata.name, uid: object.metadata.uid! },
      ],
    });
    const top = await kube.create(Model, model('top'));
    const middle = await kube.create(Model, model('middle', owner(top)));
    await kube.create(Pod, pod('leaf', owner(middle)));
    await kube.create(Pod, pod('other'));
    await kube.delete(Model, top.metadata);
    expect((await kube.list(Model)).items).toEqual([]);
    expect((await kube.list(Pod)).items.map((item) => item.metadata.name)).toEqual(['other']);
    await kube.create(Pod, pod('orphan', owner(top)));
    expect((await kube.list(Pod)).items.map((item) => item.metadata.name)).toEqual(['other']);
  });

  it('leaves them when told to orphan', async () => {
    const kube = new MemoryKube();
    const top = await kube.create(Model, model('top'));
    const references = [{ apiVersion: top.apiVersion, kind: 'Model', name: 'top', uid: top.metadata.uid! }];
    await kube.create(Pod, pod('leaf', { ownerReferences: references }));
    await kube.delete(Model, top.metadata, { propagation: 'Orphan' });
    expect((await kube.get(Pod, { namespace, name: 'leaf' })).metadata.ownerReferences).toEqual([]);
  });

  it('waits for finalizers', async () => {
    const kube = new MemoryKube();
    const made = await kube.create(Model, model('a', { finalizers: ['windlass.dev/files'] }));
    await kube.delete(Model, made.metadata);
    const dying = await kube.get(Model, made.metadata);
    expect(dying.metadata.deletionTimestamp).toBeDefined();
    await kube.update(Model, { ...dying, metadata: { ...dying.metadata, finalizers: [] } });
    expect(await error(kube.get(Model, made.metadata))).toSatisfy(isNotFound);
  });

  it('gives a pod on a node its grace period, and none to one that never started', async () => {
    const kube = new MemoryKube({ clock: new ManualClock() });
    const running = await kube.create(Pod, pod('running', {}, { nodeName: 'local', terminationGracePeriodSeconds: 10 }));
    await kube.create(Pod, pod('waiting'));
    await kube.delete(Pod, { namespace, name: 'waiting' });
    await kube.delete(Pod, running.metadata);
    const [left] = (await kube.list(Pod)).items;
    expect(left?.metadata).toMatchObject({
      name: 'running',
      deletionTimestamp: '2026-01-01T00:00:10Z',
      deletionGracePeriodSeconds: 10,
    });
    await kube.delete(Pod, running.metadata, { gracePeriodSeconds: 0 });
    expect((await kube.list(Pod)).items).toEqual([]);
  });
});

describe('watch', () => {
  it('replays from a version and goes on live', async () => {
    const kube = new MemoryKube();
    await kube.create(Model, model('a'));
    const { resourceVersion } = await kube.list(Model);
    await kube.create(Model, model('b'));
    const signal = new AbortController().signal;
    const events = take(kube.watch(Model, { resourceVersion, signal }), 3);
    await kube.create(Pod, pod('unseen'));
    await kube.patchStatus(Model, { namespace, name: 'a' }, { versions: 1 });
    await kube.delete(Model, { namespace, name: 'b' });
    expect(said(await events)).toEqual(['ADDED b', 'MODIFIED a', 'DELETED b']);
  });

  it('with a selector sees an object appear and go as its labels change', async () => {
    const kube = new MemoryKube();
    const signal = new AbortController().signal;
    const events = take(kube.watch(Model, { labels: { team: 'x' }, signal }), 2);
    const made = await kube.create(Model, model('a'));
    const joined = await kube.update(Model, { ...made, metadata: { ...made.metadata, labels: { team: 'x' } } });
    await kube.update(Model, { ...joined, metadata: { ...joined.metadata, labels: {} } });
    expect(said(await events)).toEqual(['ADDED a', 'DELETED a']);
  });

  it('expires when its version fell out of the window', async () => {
    const kube = new MemoryKube({ watchWindow: 2 });
    const first = await kube.create(Model, model('a'));
    for (let index = 0; index < 8; index++) await kube.create(Model, model(`b${index}`));
    const signal = new AbortController().signal;
    const watch = kube.watch(Model, { resourceVersion: first.metadata.resourceVersion!, signal });
    expect(await error(take(watch, 1))).toSatisfy(isExpired);
    const live = take(kube.watch(Model, { resourceVersion: (await kube.list(Model)).resourceVersion, signal }), 1);
    await new Promise(setImmediate);
    const created = kube.create(Model, model('c'));
    kube.compact();
    await created;
    expect(await error(live)).toSatisfy(isExpired);
  });

  it('gets bookmarks while only others change, and ends when aborted', async () => {
    const kube = new MemoryKube();
    const abort = new AbortController();
    const events = take(kube.watch(Model, { bookmarks: true, signal: abort.signal }), 2);
    for (let index = 0; index < 70; index++) await kube.create(Pod, pod(`p${index}`));
    expect(await events).toEqual([
      { type: 'BOOKMARK', resourceVersion: '0', initialEventsEnd: true },
      { type: 'BOOKMARK', resourceVersion: '64' },
    ]);
    const ended = take(kube.watch(Model, { signal: abort.signal }), 1);
    abort.abort();
    expect(await ended).toEqual([]);
  });
});

describe('apply', () => {
  const options = { fieldManager: 'cli' };
  const applied = (spec: object, labels: Record<string, string> = {}) => ({
    ...model('a'),
    metadata: { name: 'a', namespace, labels },
    spec,
  });

  it('creates, merges, and removes what it no longer applies', async () => {
    const kube = new MemoryKube();
    await kube.apply(Model, applied({ description: 'one' }, { x: '1', y: '2' }), options);
    const labelled = await kube.get(Model, { namespace, name: 'a' });
    await kube.update(Model, {
      ...labelled,
      metadata: { ...labelled.metadata, labels: { ...labelled.metadata.labels, theirs: 'z' } },
    });
    const after = await kube.apply(Model, applied({}, { x: '3' }), options);
    expect([after.metadata.labels, after.spec]).toEqual([{ x: '3', theirs: 'z' }, {}]);
    expect(await kube.apply(Model, applied({}, { x: '3' }), options)).toBe(after);
  });

  it('conflicts with another owner of a field, unless forced', async () => {
    const kube = new MemoryKube();
    await kube.apply(Model, applied({ description: 'one' }), options);
    const other = { fieldManager: 'other' };
    const thrown = await error(kube.apply(Model, applied({ description: 'two' }), other));
    expect(isConflict(thrown)).toBe(true);
    expect((thrown as Error).message).toBe('apply of other would change spec.description (owned by cli)');
    const forced = await kube.apply(Model, applied({ description: 'two' }), { ...other, force: true });
    expect(forced.spec.description).toBe('two');
    expect((await kube.apply(Model, applied({}), options)).spec.description).toBe('two');
  });
});

describe('write hook', () => {
  it('can prevent the nth write, and can lose its answer', async () => {
    const seen: string[] = [];
    const kube = new MemoryKube();
    const client = withWriteHook(kube, {
      before: (write) => {
        if (write.number === 2) throw new Error('down');
      },
      after: (write) => {
        seen.push(`${write.number} ${write.verb} ${write.type.kind} ${write.key.name}`);
        if (write.number === 3) throw new Error('lost');
      },
    });
    await client.create(Model, model('a'));
    await expect(client.create(Model, model('b'))).rejects.toThrow('down');
    await expect(client.create(Model, model('c'))).rejects.toThrow('lost');
    expect((await kube.list(Model)).items.map((item) => item.metadata.name)).toEqual(['a', 'c']);
    expect(seen).toEqual(['1 create Model a', '3 create Model c']);
  });
});
