// What the tests ask the API server of the run, over connections that stay open.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join, resolve } from 'node:path';
import { expect, inject, vi } from 'vitest';
import { parse } from 'yaml';
import type { Resource } from '#crds/resource.ts';

/** An object of any kind, or the Status that says why there is none. */
interface ApiObject {
  readonly metadata?: { readonly name?: string; readonly uid?: string };
  readonly spec?: unknown;
  readonly status?:
    | string
    | { readonly conditions?: readonly { type: string; status: string; reason: string; message: string }[] };
  readonly reason?: string;
  readonly message?: string;
}

interface Answer {
  readonly status: number;
  readonly body: ApiObject;
  readonly warnings: readonly string[];
}

const root = resolve(import.meta.dirname, '../..');
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

/** One request as the administrator. An apply is a PATCH of type `application/apply-patch+yaml`: JSON is YAML. */
export function ask(method: string, path: string, body?: unknown, type = 'application/json'): Promise<Answer> {
  const { url, ca, token } = inject('cluster');
  return new Promise((done, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': type };
    const sent = request(new URL(path, url), { method, ca, agent, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.once('error', reject);
      response.once('end', () => {
        const warnings = [response.headers['warning'] ?? []].flat();
        done({ status: response.statusCode ?? 0, body: JSON.parse(text) as ApiObject, warnings });
      });
    });
    sent.once('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Server-side apply of the file in `crds/`. */
export function applyCrd(resource: Resource, { dryRun = false } = {}): Promise<Answer> {
  const name = `${resource.plural}.${resource.group}`;
  const crd: unknown = parse(readFileSync(join(root, `crds/${resource.group}_${resource.plural}.yaml`), 'utf8'));
  const query = `fieldManager=tests&fieldValidation=Strict${dryRun ? '&dryRun=All' : ''}`;
  return ask('PATCH', `${crdsPath}/${name}?${query}`, crd, 'application/apply-patch+yaml');
}

/** Conditions of the CRD once the API server has served it for the first time: type -> status. */
export async function servedCrd(resource: Resource): Promise<Record<string, string>> {
  return await vi.waitFor(
    async () => {
      const { status } = (await ask('GET', `${crdsPath}/${resource.plural}.${resource.group}`)).body;
      const found = typeof status === 'object' ? (status.conditions ?? []) : [];
      const conditions = Object.fromEntries(found.map((condition) => [condition.type, condition.status]));
      expect(conditions).toMatchObject({ Established: 'True' });
      expect((await ask('GET', pathOf(resource))).status).toBe(200);
      return conditions;
    },
    { timeout: 60_000, interval: 50 },
  );
}

const crdsPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** Where objects of a kind are created. */
function pathOf(resource: Resource, namespace = 'default'): string {
  return `/apis/${resource.apiVersion}/${resource.namespaced ? `namespaces/${namespace}/` : ''}${resource.plural}`;
}

/** Asks the API server to create an object without keeping it. Unknown fields are refused, as by `kubectl`. */
export function tryCreate(resource: Resource, object: unknown): Promise<Answer> {
  return ask('POST', `${pathOf(resource)}?dryRun=All&fieldValidation=Strict`, object);
}
