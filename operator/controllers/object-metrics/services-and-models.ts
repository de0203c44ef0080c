// What Prometheus learns about InferenceServices and Models.
import { isConditionTrue } from '#crds/conditions.ts';
import type { ConditionType } from '#crds/conditions.ts';
import { InferenceServiceStatus } from '#crds/v1alpha1/index.ts';
import type { InferenceService, Model } from '#crds/v1alpha1/index.ts';
import { oneOf, secondsOf, single } from './family.ts';
import type { Family } from './family.ts';

const modelStates = InferenceServiceStatus.shape.model.unwrap().shape.state.options;

const holds = (service: InferenceService, type: ConditionType) => (isConditionTrue(service, type) ? 1 : 0);

export const inferenceServiceFamilies: readonly Family<InferenceService>[] = [
  {
    name: 'windlass_inferenceservice_info',
    type: 'gauge',
    unit: '1',
    help: 'Always 1: the Model, ModelVersion or path that the service asks for.',
    labels: ['model'],
    samples: ({ spec }) => [{ value: 1, labels: { model: spec.model.name ?? spec.model.version ?? spec.model.uri ?? '' } }],
  },
  single({
    name: 'windlass_inferenceservice_created_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds since 1970',
    help: 'When the service was created.',
    value: ({ metadata }) => secondsOf(metadata.creationTimestamp),
  }),
  single({
    name: 'windlass_inferenceservice_replicas_wanted',
    type: 'gauge',
    unit: 'pods',
    help: 'Pods that the spec asks for.',
    value: ({ spec }) => spec.replicas,
  }),
  single({
    name: 'windlass_inferenceservice_replicas',
    type: 'gauge',
    unit: 'pods',
    help: 'Pods that exist.',
    value: ({ status }) => status?.replicas ?? 0,
  }),
  single({
    name: 'windlass_inferenceservice_replicas_ready',
    type: 'gauge',
    unit: 'pods',
    help: 'Pods that answer.',
    value: ({ status }) => status?.readyReplicas ?? 0,
  }),
  single({
    name: 'windlass_inferenceservice_ready',
    type: 'gauge',
    unit: '1',
    help: '1 while the condition Ready is True.',
    value: (service) => holds(service, 'Ready'),
  }),
  single({
    name: 'windlass_inferenceservice_reconciling',
    type: 'gauge',
    unit: '1',
    help: '1 while pods are brought to what is asked for: at a start, a change, a new version.',
    value: (service) => holds(service, 'Reconciling'),
  }),
  single({
    name: 'windlass_inferenceservice_stalled',
    type: 'gauge',
    unit: '1',
    help: '1 while nothing but a change of the object can help.',
    value: (service) => holds(service, 'Stalled'),
  }),
  {
    name: 'windlass_inferenceservice_reason',
    type: 'gauge',
    unit: '1',
    help: 'Always 1: the reason of the condition Ready.',
    labels: ['reason'],
    samples: ({ status }) =>
      (status?.conditions ?? []).filter(({ type }) => type === 'Ready').map(({ reason }) => ({ value: 1, labels: { reason } })),
  },
  {
    name: 'windlass_inferenceservice_model_state',
    type: 'gauge',
    unit: '1',
    help: `1 for how far the model is that shall be served, 0 for the others: ${modelStates.join(', ')}.`,
    labels: ['state'],
    samples: ({ status }) => oneOf('state', modelStates, status?.model?.state ?? 'Waiting'),
  },
];

export const modelFamilies: readonly Family<Model>[] = [
  single({
    name: 'windlass_model_versions',
    type: 'gauge',
    unit: 'versions',
    help: 'Versions that the model has.',
    value: ({ status }) => status?.versions,
  }),
];
