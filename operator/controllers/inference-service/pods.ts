// The children of an InferenceService: pods of a revision, and the Service in front of them.
import { createHash } from 'node:crypto';
import { annotation, label, managedBy, storage } from '#crds/names.ts';
import type { Effective, InferenceService } from '#crds/v1alpha1/index.ts';
import type { EnvVar, Pod, Service } from '#operator/kube/core.ts';
import { controllerReference, podOf } from '../pod-shell.ts';
import { secretMounts, secretVariables } from '../remote-secrets.ts';
import type { Target } from './target.ts';

/** Time beyond the drain for a process to end. */
const endSeconds = 5;

/** Everything that a serving pod is made from, as a short hash: pods of another revision are replaced. */
export function revisionOf(service: InferenceService, effective: Effective, target: Target): string {
  const { replicas: _, model: __, runtimeRef: ___, rollout: ____, ...spec } = service.spec;
  const { runtime: _____, ...settings } = effective;
  const { alias: ______, ...served } = target;
  // Whoever asks for a restart asks for pods of another revision.
  const restart = service.metadata.annotations?.[annotation.restartRequestedAt];
  return createHash('sha256')
    .update(canonicalJson({ spec, settings, target: served, restart }))
    .digest('hex')
    .slice(0, 8);
}

function podName(service: InferenceService, revision: string, index: number): string {
  return `${service.metadata.name}-${revision}-${index}`;
}

export function revisionOfPod(pod: Pod): string {
  return pod.metadata.labels?.[label.revision] ?? '';
}

/** Place of a pod within its revision, from 0. */
export function indexOfPod(pod: Pod): number {
  return Number(pod.metadata.name.slice(pod.metadata.name.lastIndexOf('-') + 1));
}

/** What a pod serves, as status.model shows it. */
export function servedBy(pod: Pod): string {
  return pod.metadata.annotations?.[annotation.served] ?? '';
}

export function podSelector(service: InferenceService): Record<string, string> {
  return { [label.service]: service.metadata.name };
}

export function servingPod(
  service: InferenceService,
  effective: Effective,
  target: Target,
  revision: string,
  index: number,
): Pod {
  const { spec } = service;
  return podOf({
    owner: service,
    name: podName(service, revision, index),
    labels: { ...podSelector(service), [label.revision]: revision },
    annotations: { [annotation.served]: target.id },
    effective,
    template: spec.podTemplate,
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: spec.drain.delaySeconds + spec.drain.timeoutSeconds + endSeconds,
    claims: [
      ...(target.claimName
        ? [{ name: 'models', claimName: target.claimName, mountPath: storage.modelsMount, readOnly: true }]
        : []),
      ...(effective.cacheClaim !== undefined && keepsModels(effective, target)
        ? [{ name: 'cache', claimName: effective.cacheClaim, mountPath: storage.cacheMount }]
        : []),
    ],
    secrets: secretsOf(target),
    // Without a claim for models, what is fetched lives as long as the pod.
    scratch: target.remote && effective.cacheClaim === undefined ? [{ name: 'cache', mountPath: storage.cacheMount }] : [],
    container: {
      name: 'engine',
      command: ['windlass', 'engine'],
      env: environmentOf(service, effective, target, podName(service, revision, index)),
      ports: [{ name: 'http', containerPort: spec.port }],
      // A busy machine may be slow to answer; what is going leaves the endpoints by its deletion.
      readinessProbe: { httpGet: { path: '/ready', port: 'http' }, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3 },
      livenessProbe: {
        httpGet: { path: '/health', port: 'http' },
        initialDelaySeconds: 30,
        periodSeconds: 10,
        timeoutSeconds: 5,
        failureThreshold: 30,
      },
    },
  });
}

/** What has a digest can be kept on the node, and what comes from a server must be. */
function keepsModels({ cacheClaim }: Effective, { digest, remote }: Target): boolean {
  return (cacheClaim !== undefined && digest !== undefined) || remote !== undefined;
}

const secretsOf = ({ remote }: Target) => secretMounts({ model: remote?.secretRef });

function environmentOf(service: InferenceService, effective: Effective, target: Target, name: string): EnvVar[] {
  const values: Record<string, string> = {
    WL_NAMESPACE: service.metadata.namespace ?? 'default',
    WL_NAME: service.metadata.name,
    WL_POD_NAME: name,
    WL_SERVICE: JSON.stringify({ ...service.spec, replicas: undefined, rollout: undefined }),
    ...(target.folder === undefined ? {} : { WL_MODEL_DIR: target.folder }),
    ...(target.remote ? { WL_MODEL_URI: target.remote.uri } : {}),
    ...secretVariables(secretsOf(target)),
    WL_MODEL_NAME: target.servedName,
    ...(target.alias === undefined ? {} : { WL_MODEL_ALIAS: target.alias }),
    WL_PORT: String(service.spec.port),
    ...(target.digest === undefined ? {} : { WL_MODEL_DIGEST: target.digest }),
    ...(keepsModels(effective, target) ? cacheVariables(effective) : {}),
  };
  const fixed = Object.entries(values).map(([name, value]) => ({ name, value }));
  return [...fixed, { name: 'WL_POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
}

function cacheVariables({ cacheBytes }: Effective): Record<string, string> {
  return {
    WL_MODEL_CACHE: storage.cacheMount,
    ...(cacheBytes === undefined ? {} : { WL_MODEL_CACHE_BYTES: String(cacheBytes) }),
  };
}

/** The Service of the pods of all revisions; a named port finds each pod's own number. */
export function frontService(service: InferenceService): Service {
  const { name, namespace } = service.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { [label.managedBy]: managedBy, ...podSelector(service) },
      ownerReferences: [controllerReference(service)],
    },
    spec: {
      type: 'ClusterIP',
      selector: podSelector(service),
      ports: [{ name: 'http', port: service.spec.port, targetPort: 'http' }],
    },
  };
}

/** JSON with sorted keys. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
