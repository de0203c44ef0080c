// A real API server takes our CRDs and examples, and explains and completes them as we say.
import { execFile } from 'node:child_process';
import { globSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { validate } from '#crds/faults.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { applyCrd, ask, servedCrd, tryCreate } from './api.ts';

const root = resolve(import.meta.dirname, '../..');
const kinds = resources.map((resource) => [resource.kind, resource] as const);

describe.each(kinds)('the CRD of %s', (_, resource) => {
  it('is accepted whole and without a warning: structural, its CEL compiled and cheap enough', async () => {
    const { status, body, warnings } = await applyCrd(resource, { dryRun: true });
    expect({ status: status < 300 ? 'accepted' : status, message: body.message, warnings }).toEqual({
      status: 'accepted',
      message: undefined,
      warnings: [],
    });
  });

  it('is established under its names', async () => {
    expect((await applyCrd(resource)).body.message).toBeUndefined();
    const conditions = await servedCrd(resource);
    expect(conditions).toMatchObject({ Established: 'True', NamesAccepted: 'True' });
    expect(conditions['NonStructuralSchema'] ?? 'False').toBe('False');
  });

  it('fits into the annotation of kubectl apply', () => {
    expect(statSync(join(root, `crds/${resource.group}_${resource.plural}.yaml`)).size).toBeLessThan(100_000);
  });
});

describe('with the CRDs applied', () => {
  beforeAll(async () => {
    for (const resource of resources) await applyCrd(resource);
    for (const resource of resources) await servedCrd(resource);
  });

  const manifests = [
    ...globSync('examples/*.yaml', { cwd: root }).flatMap((file) =>
      parseAllDocuments(readFileSync(join(root, file), 'utf8')).map(
        (document, index) => [`${file} #${index + 1}`, document.toJS() as Record<string, unknown>] as const,
      ),
    ),
    ...resources.map(
      ({ kind, apiVersion, definition }) => [`example of ${kind}`, { apiVersion, kind, ...definition.example }] as const,
    ),
  ].filter(([, manifest]) => manifest !== null);

  it.each(manifests)('%s is accepted, and gets the defaults that zod fills in', async (_, manifest) => {
    const resource = resources.find(({ kind }) => kind === manifest['kind'])!;
    const ours = validate(resource, manifest);
    const theirs = await tryCreate(resource, manifest);
    expect({ message: theirs.body.message, spec: theirs.body.spec, warnings: theirs.warnings }).toEqual({
      message: undefined,
      spec: ours.ok ? ours.object.spec : ours.faults,
      warnings: [],
    });
  });

  it('every field has words for kubectl explain', async () => {
    const document = (await ask('GET', '/openapi/v3/apis/windlass.dev/v1alpha1')).body as unknown as OpenApi;
    const schemas = Object.entries(document.components.schemas).filter(([name]) => name.startsWith('dev.windlass.'));
    expect(schemas.filter(([name]) => !name.endsWith('List')).length).toBe(resources.length);
    expect(schemas.flatMap(([name, schema]) => silentFields(schema, name))).toEqual([]);
  });

  it.each(kinds)('kubectl explain describes %s and its spec', async (kind, resource) => {
    const explained = await explain(`${resource.plural}.spec`);
    expect(explained).toContain(`KIND:       ${kind}`);
    expect(explained).toMatch(/DESCRIPTION:\n {4}\S/);
    expect(explained).not.toContain('<no description>');
  });
});

interface OpenApi {
  readonly components: { readonly schemas: Record<string, Schema> };
}

interface Schema {
  readonly description?: string;
  readonly properties?: Record<string, Schema>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly allOf?: readonly Schema[];
  readonly $ref?: string;
}

/** Paths of fields without a description. What is of Kubernetes itself (`$ref`) is described there. */
function silentFields(schema: Schema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const here = `${path}.${name}`;
    return [...(field.description ? [] : [here]), ...silentFields(field, here), ...silentFields(field.items ?? {}, `${here}[]`)];
  });
}

async function explain(path: string): Promise<string> {
  const kubectl = promisify(execFile);
  const { stdout } = await kubectl(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, 'explain', path]);
  return stdout;
}
