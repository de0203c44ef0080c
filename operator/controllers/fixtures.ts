// Objects and messages that tests of the controllers start from.
import { validate } from '#crds/faults.ts';
import { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { TerminationMessage } from '#runtime/api/messages.ts';

/** A job that publishes to model `moby`, with `spec` laid over the example of the kind. */
export function trainingJob(name: string, spec: object = {}): TrainingJob {
  const { example } = TrainingJob.definition;
  const raw = {
    apiVersion: TrainingJob.apiVersion,
    kind: 'TrainingJob',
    metadata: { name, namespace: 'default' },
    spec: { ...(example['spec'] as object), ...spec },
  };
  const validated = validate(TrainingJob, raw);
  if (!validated.ok) throw new Error(JSON.stringify(validated.faults));
  return validated.object;
}

export function inferenceService(name: string, spec: object = {}, model: object = { name: 'moby' }): InferenceService {
  const raw = {
    apiVersion: InferenceService.apiVersion,
    kind: 'InferenceService',
    metadata: { name, namespace: 'default' },
    spec: { model, ...spec },
  };
  const validated = validate(InferenceService, raw);
  if (!validated.ok) throw new Error(JSON.stringify(validated.faults));
  return validated.object;
}

/** Version `number` of a model, of which nothing exists but the object. */
export function modelVersion(model: string, number: number): ModelVersion {
  const { example } = ModelVersion.definition as unknown as { example: Pick<ModelVersion, 'spec'> };
  return {
    apiVersion: ModelVersion.apiVersion,
    kind: 'ModelVersion',
    metadata: { name: `${model}-${number}`, namespace: 'default' },
    spec: { ...example.spec, model, number, uri: `pvc://models/default/${model}/${number}`, metrics: {} },
  };
}

/** What the agent of a job that did all its steps leaves behind. */
export function lastWords(): TerminationMessage {
  return {
    progress: { step: 400, steps: 400, loss: 5.1, checkpointStep: 400 },
    published: {
      path: 'moby/step-400',
      digest: 'a'.repeat(64),
      format: 'huggingface',
      architecture: 'LlamaForCausalLM',
      parameters: 3_440_832,
      contextLength: 256,
      vocabularySize: 4096,
      step: 400,
      bytes: 13_800_000,
      metrics: { heldOutLoss: 5.2 },
    },
  };
}
