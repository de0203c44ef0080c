// One rank of a training job, from its environment to a published model: prepares data and model, resumes, trains, publishes.
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import * as kernels from '#kernels/binding.ts';
import { parallelismOf } from '#crds/v1alpha1/parallelism.ts';
import type { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { PublishedModel } from '#runtime/api/messages.ts';
import type { RankLink } from '#runtime/api/rank-link.ts';
import { ownScheduleFault } from '#runtime/api/schedule/own-schedule.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import { createSampler, heldOutBatches, unigramEntropy } from '#runtime/data/main.ts';
import { generateText } from '#runtime/engine/main.ts';
import { parameterCount } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { prepareCorpus } from './corpus.ts';
import { flopsPerToken } from './flops.ts';
import { JobTrace } from './job-trace.ts';
import { localPath } from './local-path.ts';
import { noMetrics, openMetrics } from './metrics.ts';
import { pretrain } from './pretrain.ts';
import type { PretrainEnd } from './pretrain.ts';
import { ProgressReporter } from './progress.ts';
import { publish } from './publish.ts';
import { RankLife } from './rank-life.ts';
import { recomputeOf } from './recompute.ts';
import { Checkpointer, shardsOf } from './snapshot.ts';
import { compareReplicas } from './replicas.ts';
import { rankZero } from './together.ts';
import { configOf, openWeights } from './starting-weights.ts';
import { Trainer } from './trainer.ts';
import { joinWorld } from './world.ts';
import type { RankWorld } from './world.ts';

export interface RankOptions {
  readonly env: TrainingEnvironment;
  readonly link: RankLink;
  /** One line of the log. */
  readonly log: (fields: object, message: string) => void;
  /** Asks a rank that is alone for a checkpoint and an end; ranks of a world are asked through their link. */
  readonly signal: AbortSignal;
}

/** Held-out sequences of an evaluation where the job does not say. */
const defaultEvaluationSequences = 64;

/** Runs the rank to its end. Throws what the job failed with; the caller turns it into an exit code. */
export async function runRank(options: RankOptions): Promise<PretrainEnd> {
  const { env, link } = options;
  const spec = TrainingJob.definition.spec.parse(JSON.parse(env.WL_JOB));
  if (!spec.task.pretrain)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.task has no task that this version knows', {
      details: { path: 'spec.task' },
    });
  const fault = ownScheduleFault(spec);
  if (fault !== undefined)
    throw new WindlassError('WL_MANIFEST_INVALID', fault, { details: { path: 'spec.parallelism.scheduleCsv' } });
  await mkdir(env.WL_JOB_DIR, { recursive: true });
  using world = await joinWorld(env, link, parallelismOf(spec.parallelism));
  try {
    return await trainAndPublish(options, spec, world);
  } catch (error) {
    world.abort(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

async function trainAndPublish(options: RankOptions, spec: TrainingJobSpec, world: RankWorld): Promise<PretrainEnd> {
  const { env, link, log, signal } = options;
  const { pretrain: task } = spec.task;
  const { mesh } = world;
  const speaks = world.rank === 0;
  const tokensPerStep = task.batch.sequences * task.batch.length;
  const reporterOptions = {
    steps: task.steps,
    tokensPerStep,
    send: (progress: object) => void (speaks && link.send({ type: 'progress', progress: progress as never })),
    now: () => performance.now(),
  };
  let progress = new ProgressReporter(reporterOptions, 0);
  using life = new RankLife(link, `stage ${mesh.at.pipeline}`, () => progress.current);
  progress.tell({ phase: 'preparing' });

  const modelFolder = spec.model.from === undefined ? undefined : localPath(spec.model.from);
  const prepare = () =>
    prepareCorpus({
      data: spec.data,
      jobDir: env.WL_JOB_DIR,
      modelFolder,
      length: task.batch.length,
      onProgress: (phase, phaseShare) => progress.tell({ phase, phaseShare }),
    });
  // One rank tokenizes; the others find it done.
  const corpus = (await rankZero(mesh.exchange, prepare)) ?? (await prepare());
  const { tokens, split, tokenizer } = corpus;
  log({ tokens: tokens.tokens, documents: tokens.documents, fromCache: tokens.fromCache }, 'data is ready');

  using _store = closing(tokens.store);
  using device = openDevice();
  const peak = (await kernels.measureFmaPeak(device.stream)) * 1e9 * world.size;
  const config = await configOf(spec, tokenizer, task, device);
  checkPrompt(task, config, tokenizer);
  mesh.layout.validate(config, task.batch);
  const recompute = recomputeOf(spec, config, mesh.layout);
  using trace = spec.trace && new JobTrace(spec.trace, { folder: env.WL_JOB_DIR, mesh, device, log });
  const { batch, seed, optimizer } = task;
  using trainer = new Trainer({ config, device, mesh, batch, seed, recompute, optimizer, observer: trace?.observer });
  const { execution } = trainer;
  const sampler = createSampler(tokens.store, split.training, { seed: task.seed, ...task.batch });
  const checkpointer = new Checkpointer(shardsOf(execution.pieces), {
    jobDir: env.WL_JOB_DIR,
    keep: spec.checkpoint.keep,
    configDigest: digestOf({
      model: config,
      data: [tokens.key, spec.data.heldOut],
      tokenizer: tokenizer.digest,
      task: spec.task,
    }),
    ...(mesh.checkpointExchange ? { exchange: mesh.checkpointExchange } : {}),
    onSaved: (step) => progress.tell({ checkpointStep: step }),
    onFailed: (error) => log({ code: error.code, err: error }, `checkpoint failed: ${error.message}. ${error.remedy}`),
  });
  const fromCheckpoint = async (): Promise<TrainingState | undefined> => {
    const state = await checkpointer.restore((error) => log({ code: error.code }, error.message));
    if (state) execution.weightsChanged();
    return state;
  };
  const fromTheBeginning = async (): Promise<TrainingState> => {
    await using source = await openWeights(spec, tokenizer, task, device);
    await trainer.load(source);
    return { step: 0, seed: task.seed, sequences: 0, tokens: 0, evaluationsSinceBest: 0 };
  };
  const rollBack = async (): Promise<TrainingState> => {
    await checkpointer.finished();
    return (await fromCheckpoint()) ?? (await fromTheBeginning());
  };
  progress.tell({ phase: 'looking for a checkpoint' });
  const restored = await fromCheckpoint();
  const start = restored ?? (await fromTheBeginning());
  log({ step: start.step, parameters: parameterCount(config), ranks: world.size }, restored ? 'resumed' : 'training starts');
  progress = new ProgressReporter(reporterOptions, start.step);
  if (restored) progress.note({ checkpointStep: start.step });

  const onTrouble = (error: WindlassError) => log({ code: error.code, err: error }, `metrics wait: ${error.message}`);
  const metrics = speaks
    ? await openMetrics({ folder: env.WL_JOB_DIR, resumeStep: start.step, now: () => new Date(), onTrouble })
    : noMetrics;
  const sequences = task.evaluation?.sequences ?? defaultEvaluationSequences;
  const batchSequences = task.batch.sequences / task.batch.grains;
  const flops = flopsPerToken(config, task.batch.length);
  const generate = async (prompt: string, count: number) => {
    using whole = await execution.wholeModel();
    return await rankZero(mesh.exchange, () =>
      generateText(whole!.model, tokenizer, prompt, { tokens: count, temperature: 0.8, seed: task.seed }),
    );
  };
  const training = pretrain(
    {
      trainer,
      task,
      faults: spec.faults,
      compareReplicas: (step) => compareReplicas(execution.pieces, mesh.exchange, step),
      rollBack,
      onSetback: (error, words) => log({ code: error.code, ...error.details }, `${error.message}: ${words}`),
      checkpointEverySteps: spec.checkpoint.everySteps,
      batchAt: (step) => sampler.batch(step),
      heldOut: () => heldOutBatches(tokens.store, split.heldOut, { length: task.batch.length, sequences, batchSequences }),
      generate,
      checkpointer,
      metrics,
      progress,
      peakShare: (speed) => (speed * flops) / peak,
      mayStart: async (step) => {
        const may = world.size === 1 && signal.aborted ? false : await link.mayStart(step);
        await trace?.starting(may ? step : undefined);
        return may;
      },
      onStep: (step, milliseconds) => {
        trace?.stepped();
        life.stepped(step, milliseconds);
      },
    },
    start,
  );
  const checkpointed = () => checkpointer.finished();
  // However training ended: the state and the lines of the steps before must not be lost with this process.
  const unsaved = await training.then(checkpointed, checkpointed);
  await metrics.close();
  const { end, state } = await training;
  await trace?.starting(undefined);
  progress.flush();
  if (unsaved) throw unsaved;
  if (end === 'interrupted') return end;

  progress.tell({ phase: 'publishing' });
  using whole = await execution.wholeModel();
  const published = await rankZero(mesh.exchange, async () => {
    const entropy = split.heldOut.length > 0 ? unigramEntropy(tokens.store, split.heldOut, config.vocabularySize) : undefined;
    return await publish(whole!.model, tokenizer, {
      modelsDir: env.WL_MODELS_DIR,
      model: spec.output.model,
      uid: env.WL_UID,
      step: state.step,
      metrics: metricsOf(state, entropy),
    });
  });
  if (published) await announce(published, options);
  return end;
}

async function announce(model: PublishedModel, { log, link }: RankOptions): Promise<void> {
  log({ step: model.step, ...model.metrics }, 'published');
  await link.send({ type: 'published', model });
}

function metricsOf(state: TrainingState, entropy: number | undefined): Record<string, number> {
  return {
    ...(state.lastHeldOutLoss === undefined ? {} : { heldOutLoss: state.lastHeldOutLoss }),
    ...(entropy === undefined ? {} : { heldOutUnigramEntropy: entropy }),
    ...(state.lastLoss === undefined ? {} : { trainingLoss: state.lastLoss }),
  };
}

function closing(store: { close(): void }): Disposable {
  return { [Symbol.dispose]: () => store.close() };
}

/** A prompt that leaves no room would fail the job at its first sample. */
function checkPrompt({ samples }: Pretrain, config: ModelConfig, tokenizer: Tokenizer): void {
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
