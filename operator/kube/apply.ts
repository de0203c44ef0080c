// Server-side apply of the in-memory API: maps merge, lists and scalars replace; a field belongs to whoever applied it last.
//
// The subset: lists are atomic (Kubernetes merges some by key), and only `apply` owns fields (a plain update takes none over).
import { deepEqual } from '#crds/rules.ts';
import { KubeError } from './errors.ts';
import { isJsonObject } from './json.ts';
import type { JsonObject } from './json.ts';

/** Which fields a manager owns: paths of leaves, each a JSON list of keys. */
export type FieldOwners = Record<string, string[]>;

const identity = new Set(
  ['apiVersion', 'kind', 'metadata.name', 'metadata.namespace', 'metadata.uid', 'metadata.resourceVersion'].map((path) =>
    JSON.stringify(path.split('.')),
  ),
);

/** The object after `config` was applied to it, and who owns what then. Throws Conflict naming fields of other managers. */
export function applyConfig(
  current: JsonObject,
  config: JsonObject,
  owners: FieldOwners,
  manager: string,
  force: boolean,
): { object: JsonObject; owners: FieldOwners } {
  const applied = leaves(config).filter((path) => !identity.has(path));
  const contested = Object.entries(owners).flatMap(([other, paths]) =>
    other === manager
      ? []
      : paths
          .filter(
            (path) => applied.some((mine) => overlaps(mine, path)) && !deepEqual(valueAt(current, path), valueAt(config, path)),
          )
          .map((path) => `${(JSON.parse(path) as string[]).join('.')} (owned by ${other})`),
  );
  if (contested.length > 0 && !force) throw new KubeError('Conflict', `apply of ${manager} would change ${contested.join(', ')}`);

  const object = structuredClone(current);
  const heldByOthers = new Set(Object.entries(owners).flatMap(([other, paths]) => (other === manager ? [] : paths)));
  for (const path of owners[manager] ?? []) {
    if (!applied.includes(path) && !heldByOthers.has(path)) removeAt(object, JSON.parse(path) as string[]);
  }
  for (const path of emptyMaps(config)) if (!isJsonObject(valueAt(object, path))) setAt(object, JSON.parse(path) as string[], {});
  for (const path of applied) setAt(object, JSON.parse(path) as string[], structuredClone(valueAt(config, path)));

  const next: FieldOwners = { ...owners, [manager]: applied };
  if (force) {
    for (const [other, paths] of Object.entries(owners)) {
      if (other === manager) continue;
      next[other] = paths.filter(
        (path) => !applied.some((mine) => overlaps(mine, path)) || deepEqual(valueAt(current, path), valueAt(config, path)),
      );
    }
  }
  return { object, owners: next };
}

/** Paths of everything that is not a map. */
function leaves(value: JsonObject, prefix: string[] = []): string[] {
  return Object.entries(value).flatMap(([key, inner]) =>
    isJsonObject(inner) ? leaves(inner, [...prefix, key]) : [JSON.stringify([...prefix, key])],
  );
}

/** Paths of maps without entries: they say that the map exists, not that nothing is in it. */
function emptyMaps(value: JsonObject, prefix: string[] = []): string[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    if (!isJsonObject(inner)) return [];
    const path = [...prefix, key];
    return Object.keys(inner).length === 0 ? [JSON.stringify(path)] : emptyMaps(inner, path);
  });
}

/** Whether one path is the other or leads to it. */
function overlaps(a: string, b: string): boolean {
  const [x, y] = [JSON.parse(a) as string[], JSON.parse(b) as string[]];
  return x.slice(0, y.length).every((key, index) => key === y[index]);
}

function valueAt(object: JsonObject, path: string): unknown {
  return (JSON.parse(path) as string[]).reduce<unknown>((value, key) => (isJsonObject(value) ? value[key] : undefined), object);
}

function setAt(object: JsonObject, path: string[], value: unknown): void {
  let target = object;
  for (const key of path.slice(0, -1)) {
    const inner = target[key];
    const next = isJsonObject(inner) ? inner : {};
    target[key] = next;
    target = next;
  }
  target[path.at(-1)!] = value;
}

function removeAt(object: JsonObject, path: string[]): void {
  const [key, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) {
    delete object[key];
    return;
  }
  const inner = object[key];
  if (!isJsonObject(inner)) return;
  removeAt(inner, rest);
  if (Object.keys(inner).length === 0) delete object[key];
}
