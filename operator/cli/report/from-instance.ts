// Collects for a report what an instance of this machine tells: its objects, events and logs.
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { label } from '#crds/names.ts';
import type { KubeObject } from '#crds/resource.ts';
import { Event } from '#operator/kube/core.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { valueAt } from '../objects.ts';
import { readObjects } from '../status/instance-objects.ts';
import { parseReference } from '../target/references.ts';
import type { InstanceTarget } from '../target/target.ts';
import type { Collected } from './collected.ts';
import { eventText } from './event-text.ts';

/** Newest bytes of each log. */
const logBytes = 1 << 20;

/** Of the objects that `words` name, or of all. Throws WL_OBJECT_NOT_FOUND for a name that nothing has. */
export async function collectFromInstance(target: InstanceTarget, words: readonly string[], collected: Collected): Promise<void> {
  const { state, api } = target;
  const { kind, name } = parseReference(words, { nameFirst: true });
  const { objects, running } = await readObjects(state);
  const isMeant = (object: KubeObject) =>
    name === undefined ||
    (object.metadata.name === name && (kind === undefined || object.kind === kind.kind)) ||
    [label.job, label.service, label.model].some((key) => object.metadata.labels?.[key] === name) ||
    valueAt(object, '.spec.model') === name;
  const meant = objects.filter(isMeant);
  if (meant.length === 0) throw new WindlassError('WL_OBJECT_NOT_FOUND', `${state.path} holds nothing of the name ${name}`);
  collected.addObjects(meant);
  if (running) {
    const uids = new Set(meant.map(({ metadata }) => metadata.uid));
    const { items } = await api.list(Event);
    collected.addText('events.txt', eventText(items.filter(({ regarding }) => uids.has(regarding?.uid))));
  } else collected.miss('pods and events', 'no windlass runs on the state folder');
  for (const path of await logPaths(state.path, name)) {
    try {
      collected.addText(path, await newest(join(state.path, path)));
    } catch (error) {
      collected.miss(path, error);
    }
  }
}

async function logPaths(root: string, name: string | undefined): Promise<string[]> {
  const paths = ['operator.log'];
  for (const namespace of await readdir(join(root, 'logs')).catch(() => [])) {
    for (const pod of await readdir(join(root, 'logs', namespace))) {
      if (name !== undefined && pod !== name && !pod.startsWith(`${name}-`)) continue;
      for (const file of await readdir(join(root, 'logs', namespace, pod))) paths.push(`logs/${namespace}/${pod}/${file}`);
    }
  }
  return paths;
}

/** The end of a file, in whole lines. */
async function newest(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - logBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    const text = buffer.toString('utf8', 0, bytesRead);
    return start === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } finally {
    await file.close();
  }
}
