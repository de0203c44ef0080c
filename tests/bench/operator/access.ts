// How the processes of the bench reach the API server: as the administrator, or with the operator's own account and no more than its rights.
import { writeFile } from 'node:fs/promises';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { access as table } from '#operator/controllers/access.ts';
import type { ApiServer } from '#operator/kube/api-server.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import type { Transport } from '#operator/kube/transport.ts';

export interface Access {
  readonly url: string;
  readonly ca: string;
  readonly token: string;
}

export function serverOf({ url, ca, token }: Access): ApiServer {
  const credentials = { ca, headers: { authorization: `Bearer ${token}` } };
  return { url: new URL(url), namespace: 'default', credentials: async () => credentials };
}

const kind = (group: string, name: string, plural: string, namespaced: boolean): ResourceType => ({
  group,
  version: 'v1',
  kind: name,
  plural,
  namespaced,
});
const rbac = 'rbac.authorization.k8s.io';
const ServiceAccount = kind('', 'ServiceAccount', 'serviceaccounts', true);
const ClusterRole = kind(rbac, 'ClusterRole', 'clusterroles', false);
const ClusterRoleBinding = kind(rbac, 'ClusterRoleBinding', 'clusterrolebindings', false);

const name = 'windlass';

/** A service account with the rights that the chart gives the operator: flow control treats it as it does in production. */
export async function operatorAccess(
  client: HttpKube,
  transport: Transport,
  { url, ca }: Access,
  namespace: string,
): Promise<Access> {
  const rules = table.map(({ type, subresource, verbs }) => ({
    apiGroups: [type.group],
    resources: [subresource === undefined ? type.plural : `${type.plural}/${subresource}`],
    verbs,
  }));
  await client.create(ServiceAccount, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });
  await client.create(ClusterRole, { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name }, rules } as KubeObject);
  await client.create(ClusterRoleBinding, {
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace }],
  } as KubeObject);
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 36_000 } };
  const { status } = (await transport.request({ method: 'POST', path, body })) as { status: { token: string } };
  return { url, ca, token: status.token };
}

/** For programs that read one. JSON is YAML. */
export async function writeKubeconfig(path: string, { url, ca, token }: Access, namespace: string): Promise<void> {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace } }],
  };
  await writeFile(path, JSON.stringify(config), { mode: 0o600 });
}
