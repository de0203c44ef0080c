// What all our pods have in common: owner, labels, Pod Security `restricted`, scratch space, the settings of runtime and template.
import { label, managedBy } from '#crds/names.ts';
import type { KubeObject } from '#crds/resource.ts';
import type { Effective, PodTemplate } from '#crds/v1alpha1/index.ts';
import type { Affinity, Container, Pod, Volume } from '#operator/kube/core.ts';
import { mergeTemplates } from './effective.ts';
import { secretVolume } from './remote-secrets.ts';
import type { SecretMount } from './remote-secrets.ts';

/** An unprivileged user of no particular name. */
const userId = 65_532;

export interface PodShell {
  owner: KubeObject;
  name: string;
  labels: Record<string, string>;
  annotations?: Record<string, string>;
  effective: Effective;
  template: PodTemplate | undefined;
  priorityClassName?: string;
  schedulingGroup?: NonNullable<Pod['spec']['schedulingGroup']>;
  restartPolicy: Pod['spec']['restartPolicy'];
  terminationGracePeriodSeconds: number;
  /** Headless Service that the pod gets a name of its own from. */
  subdomain?: string;
  /** Nodes that the pod may or may not come to. */
  affinity?: Affinity;
  /** Claims to mount: name of the volume, claim, path. */
  claims: { name: string; claimName: string; mountPath: string; readOnly?: boolean }[];
  /** Secrets for servers. */
  secrets?: readonly SecretMount[];
  /** Room of the pod alone, by name and path. */
  scratch?: readonly { name: string; mountPath: string }[];
  /** Tokens of the namespace's default ServiceAccount, each for one audience. */
  tokens?: PodToken[];
  container: Pick<Container, 'name' | 'command' | 'env' | 'ports' | 'readinessProbe' | 'livenessProbe'>;
}

export interface PodToken {
  audience: string;
  mountPath: string;
  /** Its name in the folder. */
  file: string;
  /** How long one is valid. */
  seconds: number;
}

/** A pod that the Pod Security level `restricted` admits. */
export function podOf(shell: PodShell): Pod {
  const { owner, effective, container, secrets = [], scratch = [] } = shell;
  const template = mergeTemplates(effective.podTemplate, shell.template);
  const volumes: Volume[] = shell.claims.map(({ name, claimName }) => ({ name, persistentVolumeClaim: { claimName } }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: shell.name,
      ...(owner.metadata.namespace === undefined ? {} : { namespace: owner.metadata.namespace }),
      labels: { ...template.labels, [label.managedBy]: managedBy, ...shell.labels },
      ...(shell.annotations ? { annotations: shell.annotations } : {}),
      ownerReferences: [controllerReference(owner)],
    },
    spec: {
      restartPolicy: shell.restartPolicy,
      terminationGracePeriodSeconds: shell.terminationGracePeriodSeconds,
      ...(shell.priorityClassName === undefined ? {} : { priorityClassName: shell.priorityClassName }),
      ...(shell.schedulingGroup ? { schedulingGroup: shell.schedulingGroup } : {}),
      ...(shell.subdomain === undefined ? {} : { hostname: shell.name, subdomain: shell.subdomain }),
      ...(shell.tokens ? { serviceAccountName: 'default' } : {}),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: userId,
        runAsGroup: userId,
        fsGroup: userId,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      ...(isEmpty(template.nodeSelector) ? {} : { nodeSelector: template.nodeSelector! }),
      ...(shell.affinity ? { affinity: shell.affinity } : {}),
      ...(template.tolerations?.length ? { tolerations: template.tolerations } : {}),
      containers: [
        {
          ...container,
          image: effective.image,
          env: [...effective.env, ...(container.env ?? [])],
          ...(isEmpty(template.resources) ? {} : { resources: template.resources! }),
          volumeMounts: [
            ...shell.claims.map(({ name, mountPath, readOnly }) => ({ name, mountPath, ...(readOnly ? { readOnly } : {}) })),
            ...(shell.tokens ?? []).map(({ audience, mountPath }) => ({ name: `${audience}-token`, mountPath, readOnly: true })),
            ...secrets.map(({ name, mountPath }) => ({ name, mountPath, readOnly: true })),
            ...scratch.map(({ name, mountPath }) => ({ name, mountPath })),
            { name: 'tmp', mountPath: '/tmp' },
          ],
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          terminationMessagePath: '/dev/termination-log',
          terminationMessagePolicy: 'File',
        },
      ],
      volumes: [
        ...volumes,
        ...(shell.tokens ?? []).map(tokenVolume),
        ...secrets.map(secretVolume),
        ...scratch.map(({ name }) => ({ name, emptyDir: {} })),
        { name: 'tmp', emptyDir: {} },
      ],
    },
  };
}

function tokenVolume({ audience, file, seconds }: PodToken): Volume {
  const serviceAccountToken = { audience, expirationSeconds: seconds, path: file };
  return { name: `${audience}-token`, projected: { sources: [{ serviceAccountToken }] } };
}

/** The owner reference of an object's children: they go when it goes. */
export function controllerReference(owner: KubeObject) {
  const { name, uid } = owner.metadata;
  return { apiVersion: owner.apiVersion, kind: owner.kind, name, uid: uid ?? '', controller: true, blockOwnerDeletion: true };
}

function isEmpty(map: object | undefined): boolean {
  return map === undefined || Object.keys(map).length === 0;
}
