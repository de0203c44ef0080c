// Generates manifests near an example, from the schema of the kind: right ones, ones at the edges, and wrong ones.
import fc from 'fast-check';
import type { Resource } from '#crds/resource.ts';
import { rootSchema } from '../../hack/gen-crds.ts';
import type { JsonSchema } from '../../hack/gen-crds.ts';

export type Manifest = Record<string, unknown>;

/** The same seed gives the same manifests. */
export function manifestsOf(resource: Resource, example: Manifest, count: number, seed: number): Manifest[] {
  const { apiVersion, kind } = resource;
  const spec = near(rootSchema(resource).properties!['spec']!, example['spec']);
  const manifest = spec.map((value) => ({ apiVersion, kind, metadata: { name: 'generated' }, spec: value }));
  // As it goes over the wire: no undefined, no -0.
  return fc.sample(manifest, { numRuns: count, seed }).map((value) => JSON.parse(JSON.stringify(value)) as Manifest);
}

/** Mostly the example's value where it has one; else what the schema allows, and now and then what it does not. */
function near(schema: JsonSchema, example: unknown): fc.Arbitrary<unknown> {
  if (schema.type !== 'object' || schema.properties === undefined) {
    const other = fc.oneof({ weight: 6, arbitrary: allowed(schema) }, { weight: 1, arbitrary: stray });
    return example === undefined
      ? other
      : fc.oneof({ weight: 60, arbitrary: fc.constant(example) }, { weight: 1, arbitrary: other });
  }
  const given = (example ?? {}) as Manifest;
  const fields = Object.entries(schema.properties).map(([name, inner]) => {
    const present = name in given || schema.required?.includes(name);
    const value = near(inner, given[name]);
    const absent = fc.constant(undefined);
    return fc
      .oneof({ weight: present ? 100 : 1, arbitrary: value }, { weight: present ? 1 : 14, arbitrary: absent })
      .map((field) => [name, field] as const);
  });
  const unknown = fc.oneof(
    { weight: 300, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.constant([['stray', 1] as const]) },
  );
  const object = fc
    .tuple(fc.tuple(...fields), unknown)
    .map(([known, added]) => Object.fromEntries([...known, ...added]) as unknown);
  return fc.oneof({ weight: 400, arbitrary: object }, { weight: 1, arbitrary: stray });
}

/** Values of some type or other, most of them wrong wherever they stand. */
const stray: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    0,
    1,
    -1,
    2,
    8,
    0.5,
    1e12,
    2 ** 53,
    true,
    false,
    '',
    'x',
    'A_b',
    '4Gi',
    '500m',
    '\u{1F40B}',
    'é',
    'a\n',
  ),
  fc.constantFrom<unknown>(null, [], {}, [{}], ['x'], { x: 1 }),
  fc.integer({ min: -5, max: 5000 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);

/** What the schema says, its bounds included and passed by one now and then. */
function allowed(schema: JsonSchema): fc.Arbitrary<unknown> {
  if (schema['x-kubernetes-int-or-string'] === true) return fc.oneof(fc.nat(64), text(schema), stray);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  switch (schema.type) {
    case 'boolean':
      return fc.boolean();
    case 'integer':
    case 'number':
      return number(schema);
    case 'string':
      return text(schema);
    case 'array':
      return fc.array(near(schema.items ?? {}, undefined), { maxLength: 3 });
    case 'object':
      return schema.properties ? near(schema, undefined) : map(schema);
    default:
      return stray;
  }
}

function number(schema: JsonSchema): fc.Arbitrary<number> {
  const [low, high] = [Number(schema['minimum'] ?? 0), Number(schema['maximum'] ?? 1e6)];
  const edges = fc.constantFrom(low, high, low - 1, high + 1, low + 1, 2 * low + 2);
  const whole = fc.oneof(
    fc.integer({ min: Math.ceil(low), max: Math.floor(Math.min(high, Math.ceil(low) + 16)) }),
    fc.constantFrom(2, 4, 8, 64, 1024),
  );
  if (schema.type === 'integer')
    return fc.oneof(
      { weight: 6, arbitrary: whole },
      { weight: 2, arbitrary: edges },
      { weight: 1, arbitrary: fc.constant(low + 0.5) },
    );
  return fc.oneof(fc.double({ min: low, max: high, noNaN: true }), edges, fc.constantFrom(0, 0.1, 0.5, 1, 1e-8));
}

function text(schema: JsonSchema): fc.Arbitrary<string> {
  const max = Number(schema['maxLength'] ?? 64);
  const pattern = schema['pattern'];
  const fitting =
    typeof pattern === 'string'
      ? fc.stringMatching(new RegExp(pattern))
      : fc.string({ unit: 'grapheme', maxLength: Math.min(max, 20) });
  const long = fc.constantFrom('a'.repeat(max), 'a'.repeat(max + 1), '\u{1F40B}'.repeat(max), 'é'.repeat(max));
  const words = fc.constantFrom('', 'a', 'A', 'a-b', '-a', 'a\n', 'a b', '/', 'x/y', '1Gi', '12m', 'text', 'ſ', 'K');
  return fc.oneof({ weight: 6, arbitrary: fitting }, { weight: 1, arbitrary: long }, { weight: 2, arbitrary: words });
}

function map(schema: JsonSchema): fc.Arbitrary<Record<string, unknown>> {
  const keys = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('a', 'team', 'example.com/team', 'a.b/c', 'A_b', 'heldOutLoss', 'x'.repeat(63)) },
    { weight: 1, arbitrary: fc.constantFrom('', '-a', 'a b', '/x', 'x/', 'x'.repeat(318), 'x'.repeat(65)) },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 8 }) },
  );
  return fc.dictionary(keys, near(schema.additionalProperties as JsonSchema, undefined), { maxKeys: 4, noNullPrototype: true });
}
