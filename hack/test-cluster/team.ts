// What a team that trains and serves has on a cluster: a namespace with rules, and claims that all nodes share.
import { chmodSync, mkdirSync } from 'node:fs';

/** A namespace that admits restricted pods only. */
export function namespace(name: string): object {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** A claim that all nodes mount, and its folder: they share the file system of this machine. */
export function sharedClaim(team: string, name: string, path: string): object[] {
  mkdirSync(path, { recursive: true });
  chmodSync(path, 0o777);
  const common = { accessModes: ['ReadWriteMany'], storageClassName: 'shared' };
  const onNodes = { key: 'kubernetes.io/hostname', operator: 'In', values: ['node-1', 'node-2'] };
  return [
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        ...common,
        capacity: { storage: '1Gi' },
        claimRef: { namespace: team, name },
        local: { path },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [onNodes] }] } },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace: team },
      spec: { ...common, resources: { requests: { storage: '1Gi' } } },
    },
  ];
}
