// Jobs whose pods the API server does not take, or that can not be made into pods.
import { ClusterTrainingRuntime } from '#crds/v1alpha1/index.ts';
import { twoRanks } from '../failure-stage.ts';
import { failed, goesOn, mustSay, stalls, started } from './case.ts';
import type { Case } from './case.ts';

const quotaPath = '/api/v1/namespaces/NAMESPACE/resourcequotas';
const quota = (pods: string) => ({
  apiVersion: 'v1',
  kind: 'ResourceQuota',
  metadata: { name: 'small' },
  spec: { hard: { pods } },
  status: { hard: { pods }, used: { pods: '0' } },
});

export const refused: readonly Case[] = [
  {
    name: 'a quota without room is waited for, and its end noticed',
    spec: twoRanks,
    before: async (stage) => {
      await stage.ask('POST', quotaPath, quota('1'));
      await stage.ask('PUT', `${quotaPath}/small/status`, quota('1'));
    },
    script: async (stage) => {
      mustSay(await stage.unready('QuotaExceeded'), /exceeded quota: small, requested: pods=1.*\. Wait for other pods to end/);
      await stage.ask('DELETE', `${quotaPath}/small`);
    },
    trail: ['Starting', 'Pending', ...started],
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a namespace of Pod Security level restricted admits the pods',
    labels: { 'pod-security.kubernetes.io/enforce': 'restricted' },
    trail: started,
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a policy that refuses the pods stalls the job, in the words of the policy',
    labels: { refuses: 'pods' },
    before: async (stage) => {
      const { namespace } = stage;
      const metadata = { name: namespace };
      const group = '/apis/admissionregistration.k8s.io/v1';
      const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] };
      const validation = { expression: 'false', message: 'this namespace takes no pods' };
      const matchConstraints = {
        resourceRules: [rule],
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
      };
      const policy = { failurePolicy: 'Fail', matchConstraints, validations: [validation] };
      const binding = { policyName: namespace, validationActions: ['Deny'] };
      await stage.ask('POST', `${group}/validatingadmissionpolicies`, {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicy',
        metadata,
        spec: policy,
      });
      await stage.ask('POST', `${group}/validatingadmissionpolicybindings`, {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata,
        spec: binding,
      });
      stage.onEnd(() => stage.ask('DELETE', `${group}/validatingadmissionpolicybindings/${namespace}`));
      stage.onEnd(() => stage.ask('DELETE', `${group}/validatingadmissionpolicies/${namespace}`));
      await stage.untilRefused();
    },
    trail: ['Starting', 'Pending'],
    ends: stalls('AdmissionRefused'),
    says: /denied request: this namespace takes no pods\. Change the job or the runtime so that it meets the policy/,
  },
  {
    name: 'a runtime that does not exist is named, and waited for',
    spec: { runtimeRef: { name: 'RUNTIME' } },
    script: async (stage) => {
      mustSay(await stage.unready('RuntimeNotFound'), /^ClusterTrainingRuntime \S+ does not exist; create it/);
      const metadata = { name: stage.namespace };
      const spec = { image: 'windlass:test', env: [], storage: { jobsClaim: 'jobs', modelsClaim: 'models' } };
      stage.onEnd(() => stage.client.delete(ClusterTrainingRuntime, metadata));
      await stage.client.create(ClusterTrainingRuntime, {
        apiVersion: ClusterTrainingRuntime.apiVersion,
        kind: 'ClusterTrainingRuntime',
        metadata,
        spec,
      });
    },
    trail: ['Pending', ...started],
    ends: goesOn,
    says: /all ranks run/,
  },
  {
    name: 'a schedule that can not run fails the job before a pod is made',
    spec: { parallelism: { pipeline: 2, schedule: 'csv', scheduleCsv: 'B0.0,F0.0\nF1.0,B1.0\n' } },
    trail: ['Failed'],
    ends: failed('ManifestInvalid'),
    says: /deadlock: line 1, column 1 .*\. Move something that is waited for/,
    also: async ({ kubelet }) => [kubelet.seen, []],
  },
];
