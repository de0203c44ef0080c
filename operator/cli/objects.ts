// Objects for people and programs: tables by the printer columns of each kind, JSON, YAML.
import { stringify } from 'yaml';
import type { KubeObject, Resource } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { formatDuration, table } from './format.ts';

export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name';

/** Text of `objects` in the format asked for. Kinds without printer columns appear in JSON and YAML only. `namespaced`: says where each is. */
export function printObjects(
  objects: readonly KubeObject[],
  format: OutputFormat,
  now: Date,
  { namespaced = false, nothing = 'nothing here yet; start with `windlass run -f FILE`' } = {},
): string {
  if (format === 'json') return `${JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }, null, 2)}\n`;
  if (format === 'yaml') return objects.map((object) => stringify(object)).join('---\n');
  if (format === 'name')
    return objects.map(({ kind, metadata }) => `${kind.toLowerCase()}.windlass.dev/${metadata.name}\n`).join('');
  const tables = resources.flatMap((resource) => {
    const own = objects.filter(({ kind, apiVersion }) => kind === resource.kind && apiVersion === resource.apiVersion);
    return own.length > 0 ? [kindTable(resource, own, now, { namespaced, wide: format === 'wide' })] : [];
  });
  return tables.length > 0 ? tables.join('\n') : `${nothing}\n`;
}

function kindTable(
  resource: Resource,
  objects: readonly KubeObject[],
  now: Date,
  { namespaced, wide }: { namespaced: boolean; wide: boolean },
): string {
  const columns = resource.definition.printerColumns.filter(({ priority }) => wide || (priority ?? 0) === 0);
  const header = [
    ...(namespaced ? ['NAMESPACE'] : []),
    resource.kind.toUpperCase(),
    ...columns.map(({ name }) => name.toUpperCase()),
  ];
  const rows = objects.map((object) => [
    ...(namespaced ? [object.metadata.namespace ?? ''] : []),
    object.metadata.name,
    ...columns.map(({ jsonPath, type }) => cell(valueAt(object, jsonPath), type, now)),
  ]);
  return table([header, ...rows]);
}

function cell(value: unknown, type: string, now: Date): string {
  if (value === undefined || value === null) return '';
  if (type === 'date' && typeof value === 'string') return formatDuration((now.getTime() - Date.parse(value)) / 1000);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The subset of JSONPath that printer columns use: `.a.b` and `.list[?(@.key=="value")].c`. */
export function valueAt(object: unknown, jsonPath: string): unknown {
  let value = object;
  for (const [, name, key, wanted] of jsonPath.matchAll(/\.([A-Za-z0-9]+)(?:\[\?\(@\.([A-Za-z0-9]+)=="([^"]*)"\)\])?/g)) {
    value = member(value, name ?? '');
    if (key !== undefined) value = Array.isArray(value) ? value.find((item: unknown) => member(item, key) === wanted) : undefined;
  }
  return value;
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
