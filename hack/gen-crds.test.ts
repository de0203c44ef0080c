import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { richTrainingJob } from '#crds/fixtures.ts';
import { formatFault, validate } from '#crds/faults.ts';
import { resources, TrainingJob } from '#crds/v1alpha1/index.ts';
import { generateCrds, rootSchema } from './gen-crds.ts';
import type { JsonSchema } from './gen-crds.ts';

/** What an API server checks of a structural schema before CEL: types, bounds, patterns, required fields. Unknown fields are pruned, not faults. */
function schemaFaults(schema: JsonSchema, value: unknown, path = ''): string[] {
  const fault = (what: string) => [`${path}: ${what}`];
  if (schema['x-kubernetes-int-or-string']) {
    if (typeof value === 'string') {
      const fits = new RegExp(schema['pattern'] as string).test(value) && value.length <= Number(schema['maxLength']);
      return fits ? [] : fault('pattern');
    }
    return Number.isInteger(value) && (value as number) >= Number(schema['minimum']) ? [] : fault('int or string');
  }
  if (schema.enum && !schema.enum.includes(value)) return fault('enum');
  switch (schema.type) {
    case 'object': {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return fault('object');
      const map = value as Record<string, unknown>;
      if (Object.keys(map).length > Number(schema['maxProperties'] ?? Infinity)) return fault('maxProperties');
      const missing = (schema.required ?? [])
        .filter((name) => map[name] === undefined)
        .map((name) => `${path}.${name}: required`);
      const inner = Object.entries(map).flatMap(([name, child]) => {
        const found = schema.properties?.[name] ?? schema.additionalProperties;
        return typeof found === 'object' && child !== undefined ? schemaFaults(found, child, `${path}.${name}`) : [];
      });
      return [...missing, ...inner];
    }
    case 'array':
      if (!Array.isArray(value)) return fault('array');
      if (value.length > Number(schema['maxItems']) || value.length < Number(schema['minItems'] ?? 0)) return fault('items');
      return value.flatMap((item, index) => schemaFaults(schema.items!, item, `${path}[${index}]`));
    case 'string':
      if (typeof value !== 'string') return fault('string');
      if (value.length > Number(schema['maxLength'] ?? Infinity) || value.length < Number(schema['minLength'] ?? 0))
        return fault('length');
      return schema['pattern'] === undefined || new RegExp(schema['pattern'] as string).test(value) ? [] : fault('pattern');
    case 'boolean':
      return typeof value === 'boolean' ? [] : fault('boolean');
    case 'integer':
    case 'number': {
      if (typeof value !== 'number' || (schema.type === 'integer' && !Number.isInteger(value))) return fault(schema.type);
      const [low, high] = [Number(schema['minimum'] ?? -Infinity), Number(schema['maximum'] ?? Infinity)];
      const fits =
        (schema['exclusiveMinimum'] ? value > low : value >= low) && (schema['exclusiveMaximum'] ? value < high : value <= high);
      return fits ? [] : fault('bounds');
    }
    default:
      return fault(`type ${schema.type}`);
  }
}

/** Manifests near the example: one field somewhere is replaced, removed or added. */
function changed(example: object): fc.Arbitrary<Record<string, unknown>> {
  const paths = pathsOf(example);
  const values = fc.oneof(
    fc.constantFrom<unknown>(
      0,
      1,
      -1,
      2,
      7,
      0.5,
      1e12,
      4096,
      true,
      '',
      'x',
      '4Gi',
      'sample://a',
      'gpt2',
      'block',
      'A_b',
      [],
      {},
      [{}],
      'constant',
    ),
    fc.integer({ min: -5, max: 5000 }),
    fc.string({ maxLength: 12 }),
    fc.constant(undefined),
  );
  const extra = fc.constantFrom(
    '',
    'suspend',
    'recompute',
    'checkpoint',
    'everySteps',
    'kvHeads',
    'evaluation',
    'from',
    'seed',
    'dropout',
    'podTemplate',
    'replicas',
    'port',
    'stray',
  );
  return fc.tuple(fc.constantFrom(...paths), extra, values).map(([path, added, value]) => {
    const copy = structuredClone(example) as Record<string, unknown>;
    const parent = path.slice(0, -1).reduce<Record<string, unknown>>((tree, key) => tree[key] as Record<string, unknown>, copy);
    const last = path.at(-1)!;
    const target = parent[last];
    if (added !== '' && typeof target === 'object' && target !== null && !Array.isArray(target))
      (target as Record<string, unknown>)[added] = value;
    else if (value === undefined) delete parent[last];
    else parent[last] = value;
    return JSON.parse(JSON.stringify(copy)) as Record<string, unknown>;
  });
}

function pathsOf(value: object, prefix: string[] = []): string[][] {
  return Object.entries(value).flatMap(([key, inner]) => [
    [...prefix, key],
    ...(typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? pathsOf(inner, [...prefix, key]) : []),
  ]);
}

const kinds = resources.map(
  (resource) =>
    [resource.kind, resource, resource.kind === 'TrainingJob' ? richTrainingJob : resource.definition.example] as const,
);

describe.each(kinds)('the CRD of %s', (_, resource, example) => {
  const schema = rootSchema(resource);

  it('refuses only what zod refuses, and lets through only what a rule, a map key or an unknown field is at fault for', () => {
    fc.assert(
      fc.property(changed(example), (manifest) => {
        const raw = { apiVersion: resource.apiVersion, kind: resource.kind, ...manifest, metadata: { name: 'x' } };
        const bySchema = schemaFaults(schema, raw);
        const parsed = resource.manifest.safeParse(raw);
        if (bySchema.length > 0) {
          expect({ bySchema, zod: parsed.success }).toEqual({ bySchema, zod: false });
          return;
        }
        const codes = parsed.success ? [] : parsed.error.issues.map(({ code }) => code);
        expect(codes.filter((code) => !['custom', 'unrecognized_keys', 'invalid_key'].includes(code))).toEqual([]);
      }),
      { numRuns: 1500 },
    );
  });

  it('has no transition rule below a list, and every rule names a message', () => {
    const walk = (node: JsonSchema, belowList: boolean): void => {
      for (const rule of (node['x-kubernetes-validations'] as { rule: string; message: string }[] | undefined) ?? []) {
        expect(rule.message.length).toBeGreaterThan(5);
        expect(belowList && rule.rule.includes('oldSelf')).toBe(false);
      }
      for (const child of Object.values(node.properties ?? {})) walk(child, belowList);
      if (node.items) walk(node.items, true);
    };
    walk(schema, false);
  });
});

describe('generated CRDs', () => {
  it('are YAML, one per kind, of the names that the kinds declare', () => {
    const names = generateCrds().map(({ text }) => (parse(text) as { metadata: { name: string } }).metadata.name);
    expect(names).toEqual(resources.map((resource) => `${resource.plural}.${resource.group}`));
  });

  it('show the columns of the design for a TrainingJob', () => {
    const columns = TrainingJob.definition.printerColumns
      .filter(({ priority }) => !priority)
      .map(({ name }) => name.toUpperCase());
    expect(columns.join(' ')).toBe('STATE RANKS STEP LOSS TOK/S ETA RESTARTS AGE');
  });

  it('carry a rule for each exactly-one-of', () => {
    const result = validate(TrainingJob, {
      apiVersion: TrainingJob.apiVersion,
      kind: 'TrainingJob',
      ...richTrainingJob,
      spec: { ...richTrainingJob.spec, task: {} },
    });
    expect(result.ok ? [] : result.faults.map(formatFault)).toEqual(['spec.task: set pretrain']);
    const task = rootSchema(TrainingJob).properties!['spec']!.properties!['task']!;
    expect(task['x-kubernetes-validations']).toEqual([{ rule: 'has(self.pretrain)', message: 'set pretrain' }]);
  });
});
