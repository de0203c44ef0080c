// Finds the folder or file of a model that a command names: a path, or a Model or ModelVersion of the state folder.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { claimFolder } from '#operator/local/volumes.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { valueAt } from './objects.ts';
import { readObjects } from './status/instance-objects.ts';

/** Folder of `name`. Throws WL_OBJECT_NOT_FOUND naming the versions there are. */
export async function findModelFolder(state: StateDir, name: string): Promise<string> {
  if (existsSync(join(name, 'config.json')) || (name.endsWith('.gguf') && existsSync(name))) return name;
  const { objects } = await readObjects(state);
  const latest = objects.find(({ kind, metadata }) => kind === 'Model' && metadata.name === name);
  const version = latest ? valueAt(latest, '.status.latestVersion') : name;
  const found = objects.find(({ kind, metadata }) => kind === 'ModelVersion' && metadata.name === version);
  const uri = found && valueAt(found, '.spec.uri');
  const [, claim, path] = typeof uri === 'string' ? (/^pvc:\/\/([^/]+)\/(.+)$/.exec(uri) ?? []) : [];
  if (found && claim && path) return join(claimFolder(state.path, found.metadata.namespace ?? 'default', claim), path);
  if (found && typeof uri === 'string' && /^https?:/.test(uri)) {
    const message = `ModelVersion ${found.metadata.name} lies on a server, at ${uri.replace(/\?.*$/, '')}; fetch it from there, and name its folder`;
    throw new WindlassError('WL_FILE_MISSING', message);
  }
  const versions = objects.filter(({ kind }) => kind === 'ModelVersion').map(({ metadata }) => metadata.name);
  throw new WindlassError(
    'WL_OBJECT_NOT_FOUND',
    `${name} is no model folder, GGUF file, Model or ModelVersion; there are: ${versions.join(', ') || 'none'}`,
  );
}
