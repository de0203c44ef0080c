// `windlass status`: the objects of a state folder, from the running instance or, if none runs, as it left them.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeObject } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { openPersistedKube } from '#operator/kube/snapshot.ts';
import { fetchObjects } from '#operator/local/control.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** Objects of the state folder. `running` says whether an instance answered. Throws WL_NOT_RUNNING if the folder holds nothing. */
export async function readObjects(state: StateDir): Promise<{ objects: readonly KubeObject[]; running: boolean }> {
  const live = await fetchObjects(state);
  if (live) return { objects: live, running: true };
  const folder = join(state.path, 'objects');
  if (!existsSync(folder)) throw new WindlassError('WL_NOT_RUNNING', `${state.path} holds no windlass state`);
  const persisted = await openPersistedKube(folder);
  const lists = await Promise.all(resources.map((type) => persisted.kube.list(type)));
  await persisted.close();
  return { objects: lists.flatMap(({ items }) => items), running: false };
}
