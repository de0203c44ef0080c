// Writes one CustomResourceDefinition per kind from its zod schema: structural, bounded, described, or not at all.
import { stringify } from 'yaml';
import { z } from 'zod';
import { celEntry } from '#crds/rules.ts';
import { unobserved } from '#crds/resource.ts';
import type { Resource } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';

export interface JsonSchema {
  [key: string]: unknown;
  type?: string;
  description?: string;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
  required?: string[];
  enum?: unknown[];
}

/** Keys that a structural schema may have here; anything else is a fault of the zod schema. */
const allowedKeys = new Set([
  'type',
  'description',
  'properties',
  'additionalProperties',
  'items',
  'required',
  'enum',
  'default',
  'format',
  'pattern',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'maxProperties',
  'x-kubernetes-validations',
  'x-kubernetes-int-or-string',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
]);

/** What Go's regular expressions don't have: look-around and back-references. */
const notRe2 = /\(\?[=!<]|\\[1-9]/;
const maxInt32 = 2_147_483_647;
/** `kubectl apply` keeps the object in an annotation of at most 256 KiB; ours stay far below. */
const maxBytes = 100_000;

export function generateCrds(): { path: string; text: string }[] {
  return resources.map((resource) => {
    const path = `crds/${resource.group}_${resource.plural}.yaml`;
    const head = '# Generated from crds/v1alpha1 by `npm run gen`; do not edit.\n';
    const text =
      head +
      stringify(crdOf(resource), {
        sortMapEntries: true,
        lineWidth: 0,
        indent: 1,
        indentSeq: false,
        aliasDuplicateObjects: false,
      });
    if (Buffer.byteLength(text) > maxBytes) throw new Error(`${path}: ${Buffer.byteLength(text)} bytes, more than ${maxBytes}`);
    return { path, text };
  });
}

function crdOf(resource: Resource): object {
  const { definition, kind, plural } = resource;
  const { scale, printerColumns } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${resource.group}` },
    spec: {
      group: resource.group,
      scope: resource.namespaced ? 'Namespaced' : 'Cluster',
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        shortNames: [...definition.shortNames],
        categories: ['windlass'],
      },
      versions: [
        {
          name: resource.version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: rootSchema(resource) },
          ...(definition.status ? { subresources: { status: {}, ...(scale ? { scale } : {}) } } : {}),
          additionalPrinterColumns: printerColumns.map(({ priority, ...column }) => ({
            ...column,
            ...(priority ? { priority } : {}),
          })),
        },
      ],
    },
  };
}

/** The schema of a whole object. */
export function rootSchema(resource: Resource): JsonSchema {
  const { definition } = resource;
  const spec = structural(definition.spec, 'spec');
  const transitions = (definition.transitions ?? []).map((rule) => celEntry(rule.cel, rule.message, rule.path));
  if (transitions.length > 0) {
    spec['x-kubernetes-validations'] = [...((spec['x-kubernetes-validations'] as object[] | undefined) ?? []), ...transitions];
  }
  const nameMax = definition.nameMaxLength;
  const nameRule =
    nameMax === undefined
      ? []
      : [celEntry(`self.metadata.name.size() <= ${nameMax}`, `the name must have at most ${nameMax} characters`, undefined)];
  return {
    type: 'object',
    description: definition.description,
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string', description: `Version of the API: ${resource.apiVersion}.` },
      kind: { type: 'string', description: `Kind of the object: ${resource.kind}.` },
      metadata: { type: 'object' },
      spec,
      ...(definition.status ? { status: { ...structural(definition.status, 'status'), default: unobserved } } : {}),
    },
    ...(nameRule.length > 0 ? { 'x-kubernetes-validations': nameRule } : {}),
  };
}

function structural(schema: z.ZodType, path: string): JsonSchema {
  const raw = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    reused: 'inline',
    cycles: 'throw',
    unrepresentable: 'throw',
  }) as JsonSchema;
  return structuralPass(raw, path);
}

/** Turns zod's JSON schema into what an API server takes. Throws, naming the path, for what it would refuse or what lacks bounds or words. */
function structuralPass(raw: JsonSchema, path: string): JsonSchema {
  const schema: JsonSchema = { ...raw };
  delete schema['$schema'];
  if (schema['x-kubernetes-int-or-string'] === true) {
    delete schema['anyOf'];
    schema['minimum'] = 0;
    schema['maximum'] = Number.MAX_SAFE_INTEGER;
  }
  if (schema.additionalProperties === false) delete schema.additionalProperties;
  if (schema['format'] === 'date-time') delete schema['pattern'];
  if (schema.type === 'integer') boundInteger(schema, path);
  if (schema.type === 'array') {
    if (schema['maxItems'] === undefined) throw new Error(`${path}: a list needs max()`);
    schema['x-kubernetes-list-type'] ??= 'atomic';
  }
  if (schema.type === 'string' && !schema.enum && schema['format'] === undefined && schema['maxLength'] === undefined) {
    throw new Error(`${path}: a string needs max()`);
  }
  if (typeof schema['pattern'] === 'string') {
    if (notRe2.test(schema['pattern'])) throw new Error(`${path}: the pattern is not one of RE2`);
    schema['pattern'] = schema['pattern'].replaceAll('\\/', '/');
  }
  if (schema.description === undefined) throw new Error(`${path}: has no description`);
  if (schema.properties) {
    schema.properties = Object.fromEntries(
      Object.entries(schema.properties).map(([name, inner]) => [name, structuralPass(inner, `${path}.${name}`)]),
    );
  }
  if (schema.items) schema.items = structuralPass(schema.items, `${path}[]`);
  if (typeof schema.additionalProperties === 'object') {
    if (schema['maxProperties'] === undefined) throw new Error(`${path}: a map needs a bound`);
    const values = { description: 'A value.', ...schema.additionalProperties };
    schema.additionalProperties = structuralPass(values, `${path}{}`);
  }
  if (schema['default'] !== undefined) schema['default'] = completed(schema['default'], schema);
  for (const key of Object.keys(schema)) if (!allowedKeys.has(key)) throw new Error(`${path}: ${key} is not structural`);
  return schema;
}

/** A default with the defaults of its fields: an API server checks the rules of an object over its default before it fills these in. */
function completed(value: unknown, schema: JsonSchema): unknown {
  if (typeof value !== 'object' || value === null || !schema.properties) return value;
  const given = value as Record<string, unknown>;
  const fields = Object.entries(schema.properties).map(([name, inner]) => [
    name,
    name in given ? completed(given[name], inner) : inner['default'],
  ]);
  return Object.fromEntries(fields.filter(([, field]) => field !== undefined)) as unknown;
}

function boundInteger(schema: JsonSchema, path: string): void {
  const [low, high] = [schema['minimum'], schema['maximum']];
  if (typeof low !== 'number' || typeof high !== 'number') throw new Error(`${path}: an integer needs min() and max()`);
  schema['format'] = low >= -maxInt32 - 1 && high <= maxInt32 ? 'int32' : 'int64';
}
