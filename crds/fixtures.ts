// Objects for tests of the schemas.
import { TrainingJob } from './v1alpha1/index.ts';

/** A job that sets fields of every depth: its own defaults, a runtime, maps and lists. */
export const richTrainingJob = {
  ...TrainingJob.definition.example,
  spec: {
    ...(TrainingJob.definition.example['spec'] as object),
    data: {
      uri: 'https://data.example:8443/texts/moby.txt?v=1',
      digest: `sha256:${'a'.repeat(64)}`,
      secretRef: { name: 'data' },
      tokenizer: { train: { vocabularySize: 4096 } },
    },
    output: { model: 'moby', uri: 'https://models.example/all/', secretRef: { name: 'models' } },
    checkpoint: { everySteps: 10 },
    runtimeRef: { name: 'cpu' },
    scheduling: {
      schedulingPolicy: { gang: {} },
      schedulingConstraints: { topology: [{ key: 'topology.kubernetes.io/zone' }] },
      priorityClassName: 'high',
    },
    managedBy: 'example.com/queue',
    podTemplate: { labels: { team: 'x' }, resources: { limits: { cpu: 2, memory: '4Gi' } }, tolerations: [{ key: 'gpu' }] },
  },
};
