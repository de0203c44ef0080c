// What a plan is made from, read from a manifest and the files it names: no data is read, and nothing is trained.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parallelismOf } from '#crds/v1alpha1/parallelism.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '#runtime/model/config.ts';
import { newModelConfig, parseHuggingFaceConfig } from '#runtime/model/families/families.ts';
import { recomputeWithin } from '#runtime/parallel/plan/recompute-budget.ts';
import type { PlanRequest } from '#runtime/parallel/plan/plan.ts';
import { isRemote } from '#runtime/remote/main.ts';
import { aboutField, localPath } from './local-path.ts';
import { readTokenizer } from './read-tokenizer.ts';

/**
 * The vocabulary of a tokenizer that is still to be trained is taken to be as large as was asked for. Throws WL_MANIFEST_INVALID, WL_FILE_MISSING,
 * WL_TOKENIZER_INVALID, WL_MODEL_INVALID.
 */
export async function planRequestOf(spec: TrainingJobSpec): Promise<PlanRequest> {
  const { pretrain } = spec.task;
  if (!pretrain)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.task has no task that this version knows', {
      details: { path: 'spec.task' },
    });
  const { batch } = pretrain;
  const { recompute, recomputeBudgetMiB, precision } = spec;
  const parallelism = parallelismOf(spec.parallelism);
  const request = { model: await modelOf(spec, batch.length), batch, parallelism, precision };
  return {
    ...request,
    recompute: recomputeBudgetMiB === undefined ? recompute : recomputeWithin(recomputeBudgetMiB * 2 ** 20, request),
  };
}

async function modelOf({ model, data }: TrainingJobSpec, trainingLength: number): Promise<ModelConfig> {
  if (model.from !== undefined && isRemote(model.from))
    throw new WindlassError(
      'WL_FILE_MISSING',
      'spec.model.from is on a server, and a plan fetches nothing: name a folder with its config.json',
      {
        details: { path: 'spec.model.from' },
      },
    );
  if (model.from !== undefined) {
    const path = join(localPath(model.from), 'config.json');
    try {
      return parseHuggingFaceConfig(JSON.parse(await readFile(path, 'utf8')), path);
    } catch (error) {
      if (error instanceof SyntaxError)
        throw new WindlassError('WL_MODEL_INVALID', `${path}: not JSON: ${error.message}`, { cause: error });
      throw aboutField('spec.model.from', error);
    }
  }
  const { train, uri } = data.tokenizer ?? {};
  const vocabularySize = train?.vocabularySize ?? (await tokensOf(uri));
  return newModelConfig(model.family, model.config, { vocabularySize, trainingLength });
}

async function tokensOf(uri: string | undefined): Promise<number> {
  if (uri !== undefined && isRemote(uri))
    throw new WindlassError(
      'WL_MANIFEST_INVALID',
      'spec.data.tokenizer.uri is on a server, and a plan fetches nothing: name a file or folder',
      { details: { path: 'spec.data.tokenizer.uri' } },
    );
  if (uri === undefined)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.data.tokenizer is needed: the model brings none', {
      details: { path: 'spec.data.tokenizer' },
    });
  try {
    return (await readTokenizer(localPath(uri))).vocabularySize;
  } catch (error) {
    throw aboutField('spec.data.tokenizer.uri', error);
  }
}
