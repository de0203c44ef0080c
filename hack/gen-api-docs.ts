// Writes docs/api.md: every field of every kind, with type, bounds, default and meaning.
import { stringify } from 'yaml';
import { resources } from '#crds/v1alpha1/index.ts';
import type { Resource } from '#crds/resource.ts';
import { rootSchema } from './gen-crds.ts';
import type { JsonSchema } from './gen-crds.ts';

export function generateApiDocs(): { path: string; text: string }[] {
  const head = `<!-- Generated from crds/v1alpha1 by \`npm run gen\`; do not edit. -->

# The API

Kinds of \`windlass.dev/v1alpha1\`. \`kubectl explain\` shows the same words. A field without a default is optional unless it is marked required.

`;
  return [{ path: 'docs/api.md', text: head + resources.map(kindSection).join('\n') }];
}

function kindSection(resource: Resource): string {
  const { definition, kind } = resource;
  const schema = rootSchema(resource);
  const example = stringify({ apiVersion: resource.apiVersion, kind, ...definition.example }, { lineWidth: 0 });
  const spec = rows(schema.properties!['spec']!, 'spec', true);
  const status = schema.properties!['status'] ? rows(schema.properties!['status'], 'status', false) : [];
  const table = (title: string, lines: string[]) =>
    lines.length === 0 ? '' : `### ${title}\n\n| field | type | default | meaning |\n|---|---|---|---|\n${lines.join('\n')}\n\n`;
  const names = definition.shortNames.map((name) => `\`${name}\``).join(', ');
  return `## ${kind}

${definition.description} Short name: ${names}.

\`\`\`yaml
${example}\`\`\`

${table(`${kind} spec`, spec)}${table(`${kind} status`, status)}`;
}

function rows(schema: JsonSchema, path: string, written: boolean): string[] {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const inner = `${path}.${name}`;
    const must = written && required.has(name) ? '**required**' : show(field['default']);
    const line = `| \`${inner}\` | ${typeOf(field)} | ${must} | ${(field.description ?? '').replaceAll('|', '\\|')} |`;
    const item = field.items?.properties ? rows(field.items, `${inner}[]`, written) : [];
    return [line, ...rows(field, inner, written), ...item];
  });
}

function typeOf(field: JsonSchema): string {
  if (field.enum) return field.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (field['x-kubernetes-int-or-string']) return 'amount';
  if (field.type === 'array') return `list of ${field.items?.type ?? 'values'}`;
  if (field.type === 'object') return field.properties ? 'fields' : 'map';
  if (field['format'] === 'date-time') return 'time';
  const low = field['minimum'] as number | undefined;
  const high = field['maximum'] as number | undefined;
  if (low === undefined && high === undefined) return field.type ?? 'any';
  const from = low === undefined ? '' : `${field['exclusiveMinimum'] ? '>' : '≥'} ${low}`;
  const to = high === undefined || high === Number.MAX_SAFE_INTEGER ? '' : `${field['exclusiveMaximum'] ? '<' : '≤'} ${high}`;
  return `${field.type} ${[from, to].filter((part) => part !== '').join(', ')}`;
}

function show(value: unknown): string {
  if (value === undefined || (typeof value === 'object' && Object.keys(value as object).length === 0)) return '';
  return `\`${JSON.stringify(value)}\``;
}
