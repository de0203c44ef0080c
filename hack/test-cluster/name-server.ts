// The name server of a cluster: CoreDNS as a Deployment, found by pods under the tenth address of the services.
import { dnsImage } from './node-images.ts';
import type { Addresses } from './network.ts';

const corefile = `.:1053 {
  errors
  health :8081
  ready :8181
  kubernetes cluster.local in-addr.arpa {
    pods insecure
    fallthrough in-addr.arpa
    ttl 1
  }
}
`;

const name = 'coredns';
const namespace = 'kube-system';
const labels = { 'k8s-app': name };

/** Manifests for `kubectl apply`. */
export function nameServer(addresses: Addresses): object[] {
  const container = {
    name,
    image: dnsImage,
    imagePullPolicy: 'Never',
    args: ['-conf', '/etc/coredns/Corefile'],
    ports: [{ name: 'dns', containerPort: 1053, protocol: 'UDP' }],
    readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
    volumeMounts: [{ name: 'config', mountPath: '/etc/coredns' }],
  };
  const metadata = { name, namespace, labels };
  const rules = [
    { apiGroups: [''], resources: ['endpoints', 'services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
  ];
  const role = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:coredns' };
  const pod = {
    serviceAccountName: name,
    dnsPolicy: 'Default',
    containers: [container],
    volumes: [{ name: 'config', configMap: { name } }],
  };
  const port = (protocol: string) => ({ name: protocol.toLowerCase(), port: 53, targetPort: 1053, protocol });
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: role.name }, rules },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: role.name },
      roleRef: role,
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { Corefile: corefile } },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: pod } },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { ...metadata, name: 'kube-dns' },
      spec: { selector: labels, clusterIP: addresses.service(10), ports: [port('UDP'), port('TCP')] },
    },
  ];
}
