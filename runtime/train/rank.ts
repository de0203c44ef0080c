// One rank of a training job, from its environment to a published model: prepares data and model, resumes, trains, publishes.
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import * as kernels from '#kernels/binding.ts';
import type { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { RankMessage } from '#runtime/api/messages.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import { createSampler, heldOutBatches, unigramEntropy } from '#runtime/data/main.ts';
import { generateText } from '#runtime/engine/main.ts';
import { createModel, loadHuggingFace, newModelConfig, parameterCount } from '#runtime/model/main.ts';
import type { Model } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { prepareCorpus } from './corpus.ts';
import type { Corpus } from './corpus.ts';
import { flopsPerToken } from './flops.ts';
import { aboutField, localPath } from './local-path.ts';
import { openMetrics } from './metrics.ts';
import { AdamW } from './optimizer.ts';
import { pretrain } from './pretrain.ts';
import type { PretrainEnd } from './pretrain.ts';
import { ProgressReporter } from './progress.ts';
import { publish } from './publish.ts';
import { Checkpointer } from './snapshot.ts';

export interface RankOptions {
  readonly env: TrainingEnvironment;
  readonly send: (message: RankMessage) => void;
  /** One line of the log. */
  readonly log: (fields: object, message: string) => void;
  /** Asks for a checkpoint and an end. */
  readonly signal: AbortSignal;
}

/** Held-out sequences of an evaluation where the job does not say. */
const defaultEvaluationSequences = 64;

/** Runs the rank to its end. Throws what the job failed with; the caller turns it into an exit code. */
export async function runRank(options: RankOptions): Promise<PretrainEnd> {
  const { env, send, log, signal } = options;
  const spec = TrainingJob.definition.spec.parse(JSON.parse(env.WL_JOB));
  const { pretrain: task } = spec.task;
  if (!task)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.task has no task that this version knows', {
      details: { path: 'spec.task' },
    });
  await mkdir(env.WL_JOB_DIR, { recursive: true });
  const tokensPerStep = task.batch.sequences * task.batch.length;
  const reporterOptions = {
    steps: task.steps,
    tokensPerStep,
    send: (progress: object) => send({ type: 'progress', progress: progress as never }),
    now: () => performance.now(),
  };
  let progress = new ProgressReporter(reporterOptions, 0);
  progress.tell({ phase: 'preparing' });

  const modelFolder = spec.model.from === undefined ? undefined : localPath(spec.model.from);
  const onProgress = (phase: string, phaseShare: number) => progress.tell({ phase, phaseShare });
  const corpus = await prepareCorpus({
    data: spec.data,
    jobDir: env.WL_JOB_DIR,
    modelFolder,
    length: task.batch.length,
    onProgress,
  });
  const { tokens, split, tokenizer } = corpus;
  log({ tokens: tokens.tokens, documents: tokens.documents, fromCache: tokens.fromCache }, 'data is ready');

  using _store = closing(tokens.store);
  using device = openDevice();
  const peak = (await kernels.measureFmaPeak(device.stream)) * 1e9;
  using model = await openModel(spec, corpus, device, task.seed);
  checkPrompt(task, model, tokenizer);
  using optimizer = new AdamW(model, task.optimizer);
  const sampler = createSampler(tokens.store, split.training, { seed: task.seed, ...task.batch });
  const checkpointer = new Checkpointer(model, optimizer, {
    jobDir: env.WL_JOB_DIR,
    keep: spec.checkpoint.keep,
    configDigest: digestOf({
      model: model.config,
      data: [tokens.key, spec.data.heldOut],
      tokenizer: tokenizer.digest,
      task: spec.task,
    }),
    onSaved: (step) => progress.tell({ checkpointStep: step }),
    onFailed: (error) => log({ code: error.code, err: error }, `checkpoint failed: ${error.message}. ${error.remedy}`),
  });
  progress.tell({ phase: 'looking for a checkpoint' });
  const restored = await checkpointer.restore((error) => log({ code: error.code }, error.message));
  const start: TrainingState = restored ?? { step: 0, seed: task.seed, sequences: 0, tokens: 0, evaluationsSinceBest: 0 };
  log({ step: start.step, parameters: parameterCount(model.config) }, restored ? 'resumed' : 'training starts');
  progress = new ProgressReporter(reporterOptions, start.step);
  if (restored) progress.note({ checkpointStep: start.step });

  const onTrouble = (error: WindlassError) => log({ code: error.code, err: error }, `metrics wait: ${error.message}`);
  const metrics = await openMetrics({ folder: env.WL_JOB_DIR, resumeStep: start.step, now: () => new Date(), onTrouble });
  const sequences = task.evaluation?.sequences ?? defaultEvaluationSequences;
  const batchSequences = task.batch.sequences / task.batch.grains;
  const flops = flopsPerToken(model.config, task.batch.length);
  const checkpointed = () => checkpointer.finished();
  const training = pretrain(
    {
      model,
      optimizer,
      task,
      recompute: spec.recompute as 'none' | 'block',
      checkpointEverySteps: spec.checkpoint.everySteps,
      batchAt: (step) => sampler.batch(step),
      heldOut: () => heldOutBatches(tokens.store, split.heldOut, { length: task.batch.length, sequences, batchSequences }),
      generate: (prompt, count) => generateText(model, tokenizer, prompt, { tokens: count, temperature: 0.8, seed: task.seed }),
      checkpointer,
      metrics,
      progress,
      peakShare: (speed) => (speed * flops) / peak,
      signal,
    },
    start,
  );
  // However training ended: the state and the lines of the steps before must not be lost with this process.
  const unsaved = await training.then(checkpointed, checkpointed);
  await metrics.close();
  const { end, state } = await training;
  progress.flush();
  if (unsaved) throw unsaved;
  if (end === 'interrupted') return end;

  progress.tell({ phase: 'publishing' });
  const entropy = split.heldOut.length > 0 ? unigramEntropy(tokens.store, split.heldOut, model.config.vocabularySize) : undefined;
  const published = await publish(model, tokenizer, {
    modelsDir: env.WL_MODELS_DIR,
    model: spec.output.model,
    uid: env.WL_UID,
    step: state.step,
    metrics: {
      ...(state.lastHeldOutLoss === undefined ? {} : { heldOutLoss: state.lastHeldOutLoss }),
      ...(entropy === undefined ? {} : { heldOutUnigramEntropy: entropy }),
      ...(state.lastLoss === undefined ? {} : { trainingLoss: state.lastLoss }),
    },
  });
  log({ step: state.step, ...published.metrics }, 'published');
  send({ type: 'published', model: published });
  return end;
}

function closing(store: { close(): void }): Disposable {
  return { [Symbol.dispose]: () => store.close() };
}

async function openModel(spec: TrainingJobSpec, corpus: Corpus, device: Device, seed: number): Promise<Model> {
  const { tokenizer } = corpus;
  const { batch } = spec.task.pretrain;
  if (spec.model.from !== undefined) {
    const model = await loadHuggingFace(localPath(spec.model.from), device).catch((error: unknown) => {
      throw aboutField('model.from', error);
    });
    checkFit(model, tokenizer, batch.length, spec.model.from);
    return model;
  }
  const { family, config } = spec.model;
  const surroundings = {
    vocabularySize: tokenizer.vocabularySize,
    trainingLength: batch.length,
    ...(tokenizer.bos === undefined ? {} : { bosTokenId: tokenizer.bos }),
    ...(tokenizer.eos === undefined ? {} : { eosTokenIds: [tokenizer.eos] }),
  };
  return createModel(newModelConfig(family, config, surroundings), { seed, device });
}

function checkFit(model: Model, tokenizer: Tokenizer, length: number, folder: string): void {
  const { vocabularySize, contextLength } = model.config;
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

/** A prompt that leaves no room would fail the job at its first sample. */
function checkPrompt({ samples }: Pretrain, { config }: Model, tokenizer: Tokenizer): void {
  const tokens = samples ? tokenizer.encode(samples.prompt).length : 0;
  if (tokens < config.contextLength) return;
  throw new WindlassError(
    'WL_MANIFEST_INVALID',
    `spec.task.pretrain.samples.prompt has ${tokens} tokens; the model takes ${config.contextLength} with what it adds`,
    { details: { path: 'spec.task.pretrain.samples.prompt', limit: config.contextLength - 1 } },
  );
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
