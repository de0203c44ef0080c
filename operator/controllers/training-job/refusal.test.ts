import { expect, it } from 'vitest';
import { KubeError } from '#operator/kube/errors.ts';
import { refusalReasonOf } from './refusal.ts';

// As API servers of Kubernetes 1.37 write them.
it.each([
  [
    'Forbidden',
    'pods "moby-worker-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1',
    'QuotaExceeded',
  ],
  ['Forbidden', 'pods "moby-worker-0" is forbidden: failed quota: cpu: must specify limits.cpu for: agent', 'QuotaExceeded'],
  ['Forbidden', 'pods "moby-worker-0" is forbidden: status unknown for quota: small, resources: pods', 'QuotaExceeded'],
  [
    'Forbidden',
    'pods "x" is forbidden: violates PodSecurity "restricted:latest": seccompProfile (pod or container "agent" must set it)',
    'PodSecurityViolated',
  ],
  ['Forbidden', 'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi', 'AdmissionRefused'],
  [
    'Forbidden',
    'pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group "" in the namespace "c"',
    'Forbidden',
  ],
  [
    'Forbidden',
    'pods "x" is forbidden: unable to create new content in namespace gone because it is being terminated',
    'NamespaceTerminating',
  ],
  [
    'Invalid',
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no pods here",
    'AdmissionRefused',
  ],
  ['Invalid', 'Pod "x" is invalid: spec.containers[0].image: Required value', 'ChildRefused'],
  ['Conflict', 'the object has been modified', undefined],
] as const)('%s: %s', (kind, message, reason) => {
  expect(refusalReasonOf(new KubeError(kind, message))).toBe(reason);
});
