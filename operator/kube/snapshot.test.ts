import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import { isExpired } from './errors.ts';
import { openPersistedKube, SnapshotError } from './snapshot.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function stateFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wl-state-'));
  folders.push(folder);
  return folder;
}

const model = (name: string): Model => ({
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'Model',
  metadata: { name, namespace: 'default' },
  spec: {},
});

describe('stored objects', () => {
  it('come back with their uids, and versions go on from where they were', async () => {
    const folder = await stateFolder();
    const first = await openPersistedKube(folder);
    const made = await first.kube.create(Model, model('a'));
    await first.close();
    const second = await openPersistedKube(folder);
    expect((await second.kube.list(Model)).items).toEqual([made]);
    const next = await second.kube.create(Model, model('b'));
    expect(Number(next.metadata.resourceVersion)).toBeGreaterThan(Number(made.metadata.resourceVersion));
    await second.close();
    const signal = new AbortController().signal;
    const third = await openPersistedKube(folder);
    const stale = third.kube.watch(Model, { resourceVersion: made.metadata.resourceVersion!, signal })[Symbol.asyncIterator]();
    await expect(stale.next()).rejects.toSatisfy(isExpired);
    await third.close();
  });

  it('are written without being asked to, soon after a change', async () => {
    const folder = await stateFolder();
    const opened = await openPersistedKube(folder);
    await opened.kube.create(Model, model('a'));
    await expect.poll(() => readFile(join(folder, 'objects.json'), 'utf8').catch(() => '')).toContain('"a"');
    await opened.close();
  });

  it('are refused when one byte changed, naming the state before', async () => {
    const folder = await stateFolder();
    const opened = await openPersistedKube(folder);
    await opened.kube.create(Model, model('a'));
    await opened.flush();
    await opened.kube.create(Model, model('b'));
    await opened.close();
    const path = join(folder, 'objects.json');
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"b"', '"c"'));
    const thrown = await openPersistedKube(folder).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(SnapshotError);
    expect((thrown as Error).message.replaceAll(folder, 'STATE')).toMatchInlineSnapshot(
      `"STATE/objects.json: the stored objects do not match their checksum; the state before it is STATE/objects.previous.json: move it here, or use another state folder"`,
    );
    await writeFile(path, await readFile(join(folder, 'objects.previous.json')));
    const before = await openPersistedKube(folder);
    expect((await before.kube.list(Model)).items.map((item) => item.metadata.name)).toEqual(['a']);
    await before.close();
  });
});
