// One rank of a training job, from its environment to a published model: prepares data and model, resumes, trains, publishes.
import { mkdir } from 'node:fs/promises';
import { parallelismOf } from '#crds/v1alpha1/parallelism.ts';
import type { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { Progress, PublishedModel } from '#runtime/api/messages.ts';
import type { RankLink } from '#runtime/api/rank-link.ts';
import { ownScheduleFault } from '#runtime/api/schedule/own-schedule.ts';
import { openDeviceDisk } from '#runtime/checkpoint/device-disk.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import { unigramEntropy } from '#runtime/data/main.ts';
import { parameterCount } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { prepareCorpus } from './corpus.ts';
import type { Corpus } from './corpus.ts';
import { fetchInputs } from './inputs.ts';
import { JobTrace } from './job-trace.ts';
import { localPath } from './local-path.ts';
import { withLocalInputs } from './named-inputs.ts';
import type { PretrainEnd } from './pretrain.ts';
import { ProgressReporter } from './progress.ts';
import { publish } from './publish.ts';
import { publishCopy } from './publish-copy.ts';
import { RankLife } from './rank-life.ts';
import { RankState } from './rank-state.ts';
import { trainRank } from './rank-training.ts';
import { recomputeOf } from './recompute.ts';
import { recordedSteps, StepProfile } from './step-profile.ts';
import { configOf } from './starting-weights.ts';
import { rankZero } from './together.ts';
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

/** The job of a rank, and the ranks that it does it with. */
export interface RankJob extends RankOptions {
  readonly spec: TrainingJobSpec;
  readonly task: Pretrain;
  readonly world: RankWorld;
  readonly life: RankLife;
  readonly progress: ProgressReporter;
}

/** Runs the rank to its end. Throws what the job failed with; the caller turns it into an exit code. */
export async function runRank(options: RankOptions): Promise<PretrainEnd> {
  const { env, link } = options;
  const spec = TrainingJob.definition.spec.parse(JSON.parse(env.WL_JOB));
  const { pretrain: task } = spec.task;
  if (!task)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.task has no task that this version knows', {
      details: { path: 'spec.task' },
    });
  const fault = ownScheduleFault(spec);
  if (fault !== undefined)
    throw new WindlassError('WL_MANIFEST_INVALID', fault, { details: { path: 'spec.parallelism.scheduleCsv' } });
  await mkdir(env.WL_JOB_DIR, { recursive: true });
  using life = new RankLife(link);
  const { encryption } = spec.parallelism;
  using world = await joinWorld(env, link, { parallelism: parallelismOf(spec.parallelism), encryption });
  const progress = openProgress(task, link, world);
  life.follow(() => progress.current, `stage ${world.mesh.at.pipeline}`);
  try {
    const { log } = options;
    const tell = (values: Partial<Progress>) => progress.tell(values);
    // A rank of a world is stopped through its link, together with the others.
    const signal = world.size === 1 ? options.signal : undefined;
    const fetching = rankZero(world.mesh.exchange, () => fetchInputs(spec, { env, tell, log, signal }));
    using fetched = await fetching.catch((error: unknown) => {
      if (signal?.aborted) return null;
      throw error;
    });
    if (fetched === null) return 'interrupted';
    const end = await trainAndPublish({ ...options, spec: withLocalInputs(spec, env), task, world, life, progress });
    // It has succeeded: trouble with this is none of the job, and its marks end by themselves.
    if (end !== 'interrupted')
      await fetched?.release().catch((error: unknown) => log({ cause: String(error) }, 'data stays marked'));
    return end;
  } catch (error) {
    world.abort(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

/** One rank speaks for all. */
function openProgress({ steps, batch }: Pretrain, link: RankLink, { rank }: RankWorld): ProgressReporter {
  return new ProgressReporter({
    steps,
    tokensPerStep: batch.sequences * batch.length,
    started: new Date().toISOString(),
    send: (progress) => void (rank === 0 && link.send({ type: 'progress', progress })),
    now: () => performance.now(),
  });
}

/** Where the environment asks for one. */
function profileOf({ env, task, world, log }: RankJob, device: Device, done: number): StepProfile | undefined {
  if (env.WL_PROFILE === undefined) return undefined;
  const { WL_PROFILE: folder, WL_POD_NAME: pod, WL_NAME: name } = env;
  return new StepProfile(recordedSteps(done + 1, task.steps), { folder, pod, job: name, rank: world.rank, device, log });
}

async function trainAndPublish(job: RankJob): Promise<PretrainEnd> {
  const { env, spec, task, world, progress, log } = job;
  const { mesh } = world;
  progress.tell({ phase: 'preparing' });
  const corpus = await prepareData(job);
  using _store = closing(corpus.tokens.store);

  using device = openDevice();
  const config = await configOf(spec, corpus.tokenizer, task, device);
  checkPrompt(task, config, corpus.tokenizer);
  mesh.layout.validate(config, task.batch);
  using trace = spec.trace && new JobTrace(spec.trace, { folder: env.WL_JOB_DIR, mesh, device, log });
  const recompute = recomputeOf(spec, config, mesh.layout);
  const { batch, seed, optimizer } = task;
  const { precision } = spec;
  using trainer = new Trainer({ config, device, mesh, batch, seed, recompute, precision, optimizer, observer: trace?.observer });

  using disk = openDeviceDisk();
  const rankState = new RankState(job, { trainer, device, disk, corpus });
  const restored = await rankState.restore();
  const start = restored ?? (await rankState.begin());
  log({ step: start.step, parameters: parameterCount(config), ranks: world.size }, restored ? 'resumed' : 'training starts');
  progress.startFrom(start.step);
  if (restored) progress.note({ checkpointStep: start.step });

  const profile = profileOf(job, device, start.step);
  const { end, state } = await trainRank(job, { trainer, device, corpus, rankState, trace, profile, start });
  if (end === 'interrupted') return end;
  progress.tell({ phase: 'publishing' });
  await publishTogether(job, trainer, corpus, state);
  return end;
}

/** One rank tokenizes; the others find it done. */
async function prepareData({ env, spec, task, world, progress, log }: RankJob): Promise<Corpus> {
  const prepare = () =>
    prepareCorpus({
      data: spec.data,
      jobDir: env.WL_JOB_DIR,
      modelFolder: spec.model.from === undefined ? undefined : localPath(spec.model.from),
      length: task.batch.length,
      onProgress: (phase, phaseShare) => progress.tell({ phase, phaseShare }),
    });
  const corpus = (await rankZero(world.mesh.exchange, prepare)) ?? (await prepare());
  const { tokens, documents, fromCache } = corpus.tokens;
  log({ tokens, documents, fromCache }, 'data is ready');
  return corpus;
}

async function publishTogether(job: RankJob, trainer: Trainer, corpus: Corpus, state: TrainingState): Promise<void> {
  const { env, spec, world, log, link, progress } = job;
  const { tokens, split, tokenizer } = corpus;
  using whole = await trainer.execution.wholeModel();
  const published = await rankZero(world.mesh.exchange, async (): Promise<PublishedModel> => {
    const { vocabularySize } = trainer.config;
    const entropy = split.heldOut.length > 0 ? unigramEntropy(tokens.store, split.heldOut, vocabularySize) : undefined;
    const version = await publish(whole!.model, tokenizer, {
      modelsDir: env.WL_MODELS_DIR,
      model: spec.output.model,
      uid: env.WL_UID,
      step: state.step,
      metrics: metricsOf(state, entropy),
    });
    return { ...version, ...(await publishCopy(version, spec.output, { env, log, tell: (values) => progress.tell(values) })) };
  });
  if (!published) return;
  log({ step: published.step, ...published.metrics }, 'published');
  await link.send({ type: 'published', model: published });
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
