// Where the weights of a job begin: values drawn by its seed, or a model that exists; the same on all ranks.
import type { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { newModelConfig, openHuggingFace } from '#runtime/model/main.ts';
import type { ModelConfig, WeightSource } from '#runtime/model/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { aboutField, localPath } from './local-path.ts';
import { initialWeights } from './trainer.ts';

/** The configuration of the model that `openWeights` gives the weights of. */
export async function configOf(...of: Parameters<typeof openWeights>): Promise<ModelConfig> {
  await using source = await openWeights(...of);
  return source.config;
}

/** The caller closes it. Throws WL_FILE_MISSING, WL_MODEL_INVALID, WL_TOKENIZER_MISMATCH, and WL_MANIFEST_INVALID where the model is too short. */
export async function openWeights(
  spec: TrainingJobSpec,
  tokenizer: Tokenizer,
  task: Pretrain,
  device: Device,
): Promise<WeightSource & AsyncDisposable> {
  const { batch, seed } = task;
  if (spec.model.from !== undefined) {
    const source = await openHuggingFace(localPath(spec.model.from)).catch((error: unknown) => {
      throw aboutField('model.from', error);
    });
    checkFit(source.config, tokenizer, batch.length, spec.model.from);
    return { config: source.config, read: (name) => source.read(name), [Symbol.asyncDispose]: () => source.close() };
  }
  const { family, config: size } = spec.model;
  const config = newModelConfig(family, size, {
    vocabularySize: tokenizer.vocabularySize,
    trainingLength: batch.length,
    ...(tokenizer.bos === undefined ? {} : { bosTokenId: tokenizer.bos }),
    ...(tokenizer.eos === undefined ? {} : { eosTokenIds: [tokenizer.eos] }),
  });
  return { config, ...initialWeights(config, seed, device), async [Symbol.asyncDispose]() {} };
}

function checkFit({ vocabularySize, contextLength }: ModelConfig, tokenizer: Tokenizer, length: number, folder: string): void {
  if (tokenizer.vocabularySize > vocabularySize) {
    throw new WindlassError(
      'WL_TOKENIZER_MISMATCH',
      `the tokenizer has ${tokenizer.vocabularySize} tokens, the model in ${folder} has embeddings for ${vocabularySize}`,
    );
  }
  if (length > contextLength) {
    throw new WindlassError(
      'WL_MANIFEST_INVALID',
      `spec.task.pretrain.batch.length is ${length}; the model in ${folder} takes at most ${contextLength} tokens`,
      {
        details: { path: 'spec.task.pretrain.batch.length', limit: contextLength },
      },
    );
  }
}
