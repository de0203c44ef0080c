// The training loop of the task `pretrain`: steps, evaluation, samples, checkpoints and metrics, in an order that a resume repeats exactly.
import type { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import { warmupSteps } from '#crds/v1alpha1/pretrain.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import type { Model } from '#runtime/model/main.ts';
import { evaluate, noteEvaluation } from './evaluate.ts';
import type { MetricsWriter } from './metrics.ts';
import type { AdamW } from './optimizer.ts';
import type { ProgressReporter } from './progress.ts';
import { learningRateAt } from './schedule.ts';
import type { Checkpointer } from './snapshot.ts';
import { trainStep } from './step.ts';
import type { Batch } from './step.ts';

export interface PretrainRun {
  readonly model: Model;
  readonly optimizer: AdamW;
  readonly task: Pretrain;
  readonly recompute: 'none' | 'block';
  readonly checkpointEverySteps: number;
  /** The batch of a step (from 0), a pure function of the seed. */
  readonly batchAt: (step: number) => Batch;
  /** Held-out batches; empty if nothing is held out. */
  readonly heldOut: () => Iterable<Batch>;
  readonly generate: (prompt: string, tokens: number) => Promise<string>;
  readonly checkpointer: Checkpointer;
  readonly metrics: MetricsWriter;
  readonly progress: ProgressReporter;
  /** Share of the FMA peak at a speed in tokens per second. */
  readonly peakShare: (tokensPerSecond: number) => number;
  /** Asks for a checkpoint and an end. */
  readonly signal: AbortSignal;
}

export type PretrainEnd = 'finished' | 'stoppedEarly' | 'interrupted';

/** Trains from `start` to the last step. Throws WL_LOSS_NOT_FINITE; the state of the last good checkpoint stays. */
export async function pretrain(run: PretrainRun, start: TrainingState): Promise<{ end: PretrainEnd; state: TrainingState }> {
  const { task, progress } = run;
  const tokensPerStep = task.batch.sequences * task.batch.length;
  const config = { ...task.batch, seed: task.seed, recompute: run.recompute };
  const schedule = { ...task.optimizer, warmupSteps: warmupSteps(task), steps: task.steps };
  let state = start;
  let batch = run.batchAt(state.step);
  while (state.step < task.steps) {
    const step = state.step + 1;
    const learningRate = learningRateAt(step, schedule);
    const running = trainStep(run.model, run.optimizer, batch, step, learningRate, config);
    if (step < task.steps) batch = run.batchAt(step);
    const { loss, gradientNorm } = await running;
    refuseNonFinite(step, loss, gradientNorm);
    state = { ...state, step, sequences: state.sequences + task.batch.sequences, tokens: state.tokens + tokensPerStep };
    progress.stepped(step, { loss, learningRate, gradientNorm });
    const speed = progress.current.tokensPerSecond;
    const peak = speed === undefined ? {} : { tokens_per_second: speed, peak_share: run.peakShare(speed) };
    if (speed !== undefined) progress.note({ peakShare: run.peakShare(speed) });
    await run.metrics.write(step, {
      'train/loss': loss,
      'train/learning_rate': learningRate,
      'train/gradient_norm': gradientNorm,
      ...peak,
    });

    const ending = step === task.steps;
    if (isDue(step, task.evaluation?.everySteps) || ending) state = await evaluateNow(run, state);
    if (isDue(step, task.samples?.everySteps) && task.samples) await sampleNow(run, task.samples);
    const early = task.evaluation?.patience !== undefined && state.evaluationsSinceBest >= task.evaluation.patience;
    if (isDue(step, run.checkpointEverySteps) || ending || early || run.signal.aborted) {
      await run.checkpointer.save(state);
      progress.resumeClock();
    }
    if (early && !ending) return { end: 'stoppedEarly', state };
    if (run.signal.aborted && !ending) return { end: 'interrupted', state };
  }
  return { end: 'finished', state };
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}

function refuseNonFinite(step: number, loss: number, gradientNorm: number): void {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return;
  const what = Number.isFinite(loss) ? `the gradient norm became ${gradientNorm}` : `the loss became ${loss}`;
  throw new WindlassError('WL_LOSS_NOT_FINITE', `${what} at step ${step}`, { details: { step } });
}

async function evaluateNow(run: PretrainRun, state: TrainingState): Promise<TrainingState> {
  const batches = [...run.heldOut()];
  if (batches.length === 0) return state;
  run.progress.tell({ phase: 'evaluating' });
  const loss = await evaluate(run.model, batches, run.task.batch.length);
  run.progress.resumeClock();
  run.progress.tell({ heldOutLoss: loss });
  await run.metrics.write(state.step, { 'eval/loss': loss });
  return noteEvaluation(state, loss);
}

async function sampleNow(run: PretrainRun, samples: NonNullable<Pretrain['samples']>): Promise<void> {
  const sample = await run.generate(samples.prompt, samples.tokens);
  run.progress.resumeClock();
  run.progress.tell({ sample });
}
