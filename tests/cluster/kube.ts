// Our own client to the API server of the run, and namespaces that no other test uses.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inject, vi } from 'vitest';
import { parse } from 'yaml';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { fromKubeconfig } from '#operator/kube/kubeconfig.ts';
import { Transport } from '#operator/kube/transport.ts';

const root = resolve(import.meta.dirname, '../..');
const Namespace: ResourceType = { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false };
const CustomResourceDefinition: ResourceType = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

/** A client with the administrator's kubeconfig: that of the run's API server, or of another one. */
export async function connect(kubeconfig = inject('cluster').kubeconfig): Promise<{ client: HttpKube; transport: Transport }> {
  const transport = new Transport(await fromKubeconfig({ file: kubeconfig }));
  return { client: new HttpKube(transport), transport };
}

/** Makes a namespace. The API server knows our kinds then. */
export async function newNamespace(client: HttpKube): Promise<string> {
  for (const { group, plural } of resources) {
    const crd = parse(readFileSync(join(root, `crds/${group}_${plural}.yaml`), 'utf8')) as KubeObject;
    await client.apply(CustomResourceDefinition, crd, { fieldManager: 'tests', force: true });
  }
  for (const type of resources) await vi.waitFor(() => client.list(type), { timeout: 60_000, interval: 50 });
  const name = `test-${randomUUID().slice(0, 8)}`;
  await client.create(Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  return name;
}
