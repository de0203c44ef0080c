// The training loop of the task `pretrain`: steps, evaluation, samples, checkpoints and metrics, in an order that a resume repeats exactly.
import type { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import { warmupSteps } from '#crds/v1alpha1/pretrain.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import type { Batch } from '#runtime/parallel/main.ts';
import { evaluate, noteEvaluation } from './evaluate.ts';
import type { MemoryWatch } from './memory-watch.ts';
import type { MetricsWriter, MetricValues } from './metrics.ts';
import type { ProgressReporter } from './progress.ts';
import { learningRateAt } from './schedule.ts';
import type { Checkpointer } from './snapshot.ts';
import type { StepResult, Trainer } from './trainer.ts';
import { judgeStep, meanWith } from './watch.ts';

export interface PretrainRun {
  readonly trainer: Trainer;
  readonly task: Pretrain;
  readonly faults: TrainingJobSpec['faults'];
  readonly checkpointEverySteps: number;
  /** The batch of a step (from 0), a pure function of the seed. */
  readonly batchAt: (step: number) => Batch;
  /** Held-out batches; empty if nothing is held out. */
  readonly heldOut: () => Iterable<Batch>;
  /** Text that the model goes on with, on the rank that speaks for all; all ranks call it. */
  readonly generate: (prompt: string, tokens: number) => Promise<string | undefined>;
  readonly checkpointer: Checkpointer;
  /** Puts the newest checkpoint back, or the beginning where there is none. All ranks call it. */
  readonly rollBack: () => Promise<TrainingState>;
  readonly metrics: MetricsWriter;
  readonly progress: ProgressReporter;
  /** Share of the FMA peak at a speed in tokens per second. */
  readonly peakShare: (tokensPerSecond: number) => number;
  /** Whether a step may begin; false asks for a checkpoint and an end, on all ranks before the same step. */
  readonly mayStart: (step: number) => Promise<boolean>;
  /** Looks whether memory changes by itself, every so many steps and before each checkpoint. */
  readonly memoryWatch?: MemoryWatch | undefined;
  /** Told of a step that is left out or undone, and why. */
  readonly onSetback: (error: WindlassError, words: string) => void;
  /** Told how long each step took. */
  readonly onStep: (step: number, milliseconds: number) => void;
}

export type PretrainEnd = 'finished' | 'stoppedEarly' | 'interrupted';

/** Trains from `start` to the last step. Throws WL_LOSS_NOT_FINITE before anything of such a step is saved. */
export async function pretrain(run: PretrainRun, start: TrainingState): Promise<{ end: PretrainEnd; state: TrainingState }> {
  const { task, progress, trainer, memoryWatch } = run;
  const schedule = { ...task.optimizer, warmupSteps: warmupSteps(task), steps: task.steps };
  let state = start;
  let saved = start.step;
  let undone: number | undefined;
  let batch = run.batchAt(state.step);
  for (;;) {
    const end = endOf(run, state) ?? ((await run.mayStart(state.step + 1)) ? undefined : 'interrupted');
    if (end) {
      if (state.step !== saved) await saveNow(run, state);
      return { end, state };
    }
    const step = state.step + 1;
    const begin = performance.now();
    const learningRate = learningRateAt(step, schedule);
    const { gradientNormMean: mean } = state;
    const judge = (result: StepResult) => judgeStep(run.faults, step, result, mean);
    const running = trainer.step(batch, step, learningRate, {
      mayUpdate: guardOf(run, (result) => judge(result).action === 'go'),
      around: memoryWatch && ((update) => memoryWatch.around(update)),
    });
    if (step < task.steps) batch = run.batchAt(step);
    const result = await running;
    const { loss, gradientNorm } = result;
    const verdict = judge(result);
    if (verdict.action === 'stop' || (verdict.action === 'rollback' && undone === step)) throw verdict.error;
    if (verdict.action === 'rollback') {
      run.onSetback(verdict.error, 'going back to the newest checkpoint');
      undone = step;
      state = await run.rollBack();
      memoryWatch?.forget();
      await run.metrics.goBack(state.step);
      saved = state.step;
      batch = run.batchAt(state.step);
      continue;
    }
    if (verdict.action === 'skip') run.onSetback(verdict.error, 'the update of this step is left out');
    if (isDue(step, run.faults.checkGradientsEverySteps)) await memoryWatch?.check(step);
    run.onStep(step, performance.now() - begin);
    state = {
      ...state,
      step,
      sequences: state.sequences + task.batch.sequences,
      tokens: state.tokens + task.batch.sequences * task.batch.length,
      lastLoss: loss,
      ...(run.faults.gradientSpike && verdict.action === 'go' ? { gradientNormMean: meanWith(gradientNorm, mean) } : {}),
    };
    progress.stepped(step, { loss, learningRate, gradientNorm });
    writeMetrics(run, state, { 'train/learning_rate': learningRate, 'train/gradient_norm': gradientNorm });

    if (isDue(step, task.evaluation?.everySteps) || step === task.steps) state = await evaluateNow(run, state);
    if (task.samples && isDue(step, task.samples.everySteps)) await sampleNow(run, task.samples);
    if (isDue(step, run.checkpointEverySteps)) {
      await saveNow(run, state);
      saved = step;
    }
  }
}

/** The device waits for the verdict only where an update may have to be left out. */
function guardOf(
  { faults }: PretrainRun,
  mayUpdate: (result: StepResult) => boolean,
): ((result: StepResult) => boolean) | undefined {
  return faults.gradientSpike?.action === 'skip' ? mayUpdate : undefined;
}

/** Why no further step follows; undefined: one does. A pure function of the state, so that a resumed run ends alike. */
function endOf({ task }: PretrainRun, state: TrainingState): PretrainEnd | undefined {
  if (state.step >= task.steps) return 'finished';
  return state.evaluationsSinceBest >= (task.evaluation?.patience ?? Infinity) ? 'stoppedEarly' : undefined;
}

async function saveNow(run: PretrainRun, state: TrainingState): Promise<void> {
  await run.progress.during('saving a checkpoint', async () => {
    await run.memoryWatch?.check(state.step);
    await run.metrics.flush();
    await run.checkpointer.save(state);
  });
  run.progress.resumeClock('checkpointing');
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}

function refuseNonFinite(what: string, value: number, step: number): void {
  if (Number.isFinite(value)) return;
  throw new WindlassError('WL_LOSS_NOT_FINITE', `${what} became ${value} at step ${step}`, { details: { step } });
}

function writeMetrics(run: PretrainRun, { step, lastLoss = NaN }: TrainingState, values: MetricValues): void {
  const { tokensPerSecond: speed } = run.progress.current;
  if (speed !== undefined) run.progress.note({ peakShare: run.peakShare(speed) });
  const rates = speed === undefined ? {} : { tokens_per_second: speed, peak_share: run.peakShare(speed) };
  run.metrics.write(step, { 'train/loss': lastLoss, ...values, ...rates });
}

async function evaluateNow(run: PretrainRun, state: TrainingState): Promise<TrainingState> {
  const batches = [...run.heldOut()];
  if (batches.length === 0) return state;
  run.progress.tell({ phase: 'evaluating' });
  const loss = await evaluate(run.trainer.execution, batches);
  refuseNonFinite('the held-out loss', loss, state.step);
  run.progress.resumeClock('evaluating');
  run.progress.tell({ heldOutLoss: loss });
  run.metrics.write(state.step, { 'eval/loss': loss });
  return noteEvaluation(state, loss);
}

async function sampleNow(run: PretrainRun, samples: NonNullable<Pretrain['samples']>): Promise<void> {
  const sample = await run.generate(samples.prompt, samples.tokens);
  run.progress.resumeClock('evaluating');
  if (sample !== undefined) run.progress.tell({ sample });
}
