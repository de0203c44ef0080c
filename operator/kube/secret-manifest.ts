// A Secret as people write it, for the embedded default: a cluster takes it from kubectl.
import { z } from 'zod';
import type { Custom, Resource } from '#crds/resource.ts';
import { Secret } from './core.ts';

const base64 = /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const key = z.string().regex(/^[-._a-zA-Z0-9]{1,253}$/, 'must be letters, digits, "-", "_" and "."');
const label = z.record(z.string(), z.string()).optional();

const Manifest = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal(Secret.kind),
  metadata: z.looseObject({
    name: z
      .string()
      .max(253)
      .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be lower-case letters, digits, "-" and "."'),
    namespace: z.string().optional(),
    labels: label,
    annotations: label,
  }),
  type: z.string().default('Opaque'),
  immutable: z.boolean().optional(),
  data: z.record(key, z.string().regex(base64, 'must be base64; plain text stands in stringData')).optional(),
  stringData: z.record(key, z.string()).optional(),
});

/** The kind among those of manifests. It has no spec, and no schema in a cluster. */
export const secretResource = {
  ...Secret,
  apiVersion: 'v1',
  definition: {
    kind: Secret.kind,
    plural: Secret.plural,
    shortNames: [],
    description: 'Keys for servers.',
    spec: z.undefined(),
    printerColumns: [],
    example: {},
  },
  manifest: Manifest,
} as unknown as Resource;

/** What an API server keeps of it: all values as data. */
export function storedSecret(written: unknown): Custom<unknown, unknown> {
  const { stringData = {}, data = {}, ...rest } = written as z.output<typeof Manifest>;
  const encoded = Object.entries(stringData).map(([name, text]) => [name, Buffer.from(text).toString('base64')]);
  return { ...rest, data: { ...data, ...Object.fromEntries(encoded) } } as unknown as Custom<unknown, unknown>;
}
