// The training of a rank: the loop of its task with all that it reads from and tells to, closed in order however it ends.
import * as kernels from '#kernels/binding.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { createSampler, heldOutBatches } from '#runtime/data/main.ts';
import { generateText } from '#runtime/engine/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import type { Corpus } from './corpus.ts';
import { flopsPerToken } from './flops.ts';
import type { JobTrace } from './job-trace.ts';
import { MemoryWatch } from './memory-watch.ts';
import { noMetrics, openMetrics } from './metrics.ts';
import type { MetricsWriter } from './metrics.ts';
import { pretrain } from './pretrain.ts';
import type { PretrainEnd, PretrainRun } from './pretrain.ts';
import type { RankState } from './rank-state.ts';
import type { RankJob } from './rank.ts';
import { rankZero } from './together.ts';
import type { StepProfile } from './step-profile.ts';
import type { Trainer } from './trainer.ts';

interface RankTraining {
  readonly trainer: Trainer;
  readonly device: Device;
  readonly corpus: Corpus;
  readonly rankState: RankState;
  readonly trace: JobTrace | undefined;
  readonly profile: StepProfile | undefined;
  /** Where it goes on from. */
  readonly start: TrainingState;
}

/** Held-out sequences of an evaluation where the job does not say. */
const defaultEvaluationSequences = 64;

/** Trains to the end of the task, or to where the job is asked to stop. Throws why the last checkpoint was not saved. */
export async function trainRank(job: RankJob, parts: RankTraining): Promise<{ end: PretrainEnd; state: TrainingState }> {
  const { rankState, trace, profile, start } = parts;
  const peak = (await kernels.measureFmaPeak(parts.device.stream)) * 1e9 * job.world.size;
  const metrics = await openJobMetrics(job, start.step);
  const training = pretrain(runOf(job, parts, metrics, peak), start);
  // However training ended: the state and the lines of the steps before must not be lost with this process.
  const checkpointed = () => rankState.finished();
  const unsaved = await training.then(checkpointed, checkpointed);
  await metrics.close();
  const outcome = await training;
  await trace?.starting(undefined);
  await profile?.starting(undefined);
  job.progress.flush();
  if (unsaved) throw unsaved;
  return outcome;
}

/** One rank writes them for all. */
async function openJobMetrics({ env, world, log }: RankJob, resumeStep: number): Promise<MetricsWriter> {
  if (world.rank !== 0) return noMetrics;
  const onTrouble = (error: WindlassError) => log({ code: error.code, err: error }, `metrics wait: ${error.message}`);
  return await openMetrics({ folder: env.WL_JOB_DIR, resumeStep, now: () => new Date(), onTrouble });
}

function runOf(job: RankJob, parts: RankTraining, metrics: MetricsWriter, peak: number): PretrainRun {
  const { spec, task, world, life, link, signal, log, progress } = job;
  const { trainer, corpus, rankState, trace, profile } = parts;
  const { tokens, split, tokenizer } = corpus;
  const { exchange } = world.mesh;
  const { execution } = trainer;
  const sampler = createSampler(tokens.store, split.training, { seed: task.seed, ...task.batch });
  const evaluation = {
    length: task.batch.length,
    sequences: task.evaluation?.sequences ?? defaultEvaluationSequences,
    batchSequences: task.batch.sequences / task.batch.grains,
  };
  const flops = flopsPerToken(trainer.config, task.batch.length);
  return {
    trainer,
    task,
    faults: spec.faults,
    memoryWatch: spec.faults.checkGradientsEverySteps ? new MemoryWatch(execution.pieces, exchange) : undefined,
    checkpointEverySteps: spec.checkpoint.everySteps,
    checkpointer: rankState.checkpointer,
    rollBack: () => rankState.rollBack(),
    batchAt: (step) => sampler.batch(step),
    heldOut: () => heldOutBatches(tokens.store, split.heldOut, evaluation),
    generate: async (prompt, count) => {
      using whole = await execution.wholeModel();
      return await rankZero(exchange, () =>
        generateText(whole!.model, tokenizer, prompt, { tokens: count, temperature: 0.8, seed: task.seed }),
      );
    },
    metrics,
    progress,
    peakShare: (speed) => (speed * flops) / peak,
    mayStart: async (step) => {
      const may = world.size === 1 && signal.aborted ? false : await link.mayStart(step);
      await trace?.starting(may ? step : undefined);
      await profile?.starting(may ? step : undefined);
      return may;
    },
    onStep: (step, milliseconds) => {
      profile?.stepped();
      trace?.stepped();
      life.stepped(step, milliseconds);
    },
    onSetback: (error, words) => log({ code: error.code, ...error.details }, `${error.message}: ${words}`),
  };
}
