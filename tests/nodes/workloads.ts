// What the team of a test cluster runs: versions of tiny models that lie on its claim, and a job of two pods that trains for as long as wanted.
import { team } from '../../hack/test-cluster/installation.ts';

/** Version `number` of the model `tiny`: the folder `path` of the claim windlass-models. */
export const tinyVersion = (number: number, path: string, digest: string): object => ({
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'ModelVersion',
  metadata: { name: `tiny-${number}`, namespace: team },
  spec: {
    model: 'tiny',
    number,
    uri: `pvc://windlass-models/${path}`,
    digest: `sha256:${digest}`,
    format: 'huggingface',
    architecture: 'LlamaForCausalLM',
    parameters: 1,
    contextLength: 128,
    vocabularySize: 320,
    bytes: 1,
  },
});

/** A service of the newest version; pods without a request get next to nothing of a machine that is busy. */
export const tinyService = (spec: object = {}, requests = { cpu: '100m' }): object => ({
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'InferenceService',
  metadata: { name: 'tiny', namespace: team },
  spec: { model: { name: 'tiny' }, podTemplate: { resources: { requests } }, ...spec },
});

/** Two ranks, each in a pod of its own. */
export const jobOfTwo: object = {
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'TrainingJob',
  metadata: { name: 'two', namespace: team },
  spec: {
    model: { family: 'llama', config: { hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 2 } },
    data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 512 } } },
    parallelism: { dataReplicate: 2 },
    task: { pretrain: { steps: 10_000_000, batch: { sequences: 2, length: 32, grains: 2 } } },
    checkpoint: { everySteps: 1_000_000 },
    podTemplate: { resources: { requests: { cpu: '100m' } } },
    output: { model: 'two' },
  },
};
