// The parts of a TrainingJob's status that follow from progress: figures, checkpoint, and the words of `kubectl get`.
import type { TrainingJobStatus, TrainingProgress } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Progress, ProgressReport } from '#runtime/api/messages.ts';
import { knownFigures } from '../progress-source.ts';
import { countRestarts } from './restarts.ts';

/** Status takes progress over at most once in this time, to spare the API server. */
const progressPeriodMs = 10_000;

type ProgressStatus = Pick<
  TrainingJobStatus,
  'progress' | 'checkpoint' | 'restarts' | 'inPlaceRestarts' | 'epoch' | 'world' | 'ranks' | 'straggler'
>;

/** What holds only while ranks run. */
export const forgetRanks = { epoch: undefined, ranks: undefined, straggler: undefined } as const;

/** Milliseconds until the status may take progress over; 0 if it is due. */
export function progressDueIn(status: TrainingJobStatus, now: number): number {
  const last = status.progress?.time === undefined ? -Infinity : Date.parse(status.progress.time);
  return Math.max(0, last + progressPeriodMs - now);
}

/** Takes a report of the running attempt over. */
export function foldReport(status: TrainingJobStatus, report: ProgressReport, now: number): ProgressStatus {
  return {
    ...foldProgress(status, report.progress, now),
    ...countRestarts(status, report),
    epoch: report.epoch,
    ...(report.worldSize === undefined ? {} : { world: report.worldSize }),
    ranks: report.ranks?.map(({ rank, pod, step, state, phase, rssBytes }) => ({
      rank,
      pod,
      step,
      state,
      phase,
      bytes: rssBytes,
    })),
    straggler: report.straggler,
  };
}

/** Takes the figures of a report, or of a pod's last words, over. */
export function foldProgress(
  status: TrainingJobStatus,
  progress: Progress,
  now: number,
): Pick<TrainingJobStatus, 'progress' | 'checkpoint'> {
  const { checkpointStep, sample, clock: _clock, ...figures } = knownFigures(progress);
  const { phase: _, phaseShare: __, transfer: ___, ...before } = status.progress ?? {};
  const time = isoTime(now);
  const next: TrainingProgress = { ...before, ...figures, time };
  const text = sample ?? before.sample;
  if (text !== undefined) next.sample = text.slice(0, 4096);
  const saved = checkpointStep !== undefined && checkpointStep !== status.checkpoint?.step;
  return {
    progress: next,
    checkpoint: saved ? { step: checkpointStep, time } : status.checkpoint,
  };
}

/** The columns of `kubectl get tj`. `wanted`: ranks that the job uses when it can have them. */
export function summaryOf(status: TrainingJobStatus, wanted: number): NonNullable<TrainingJobStatus['summary']> {
  const { progress = {}, state, readyRanks = 0, world = wanted } = status;
  const running = state === 'Running';
  return {
    ranks: `${Math.min(readyRanks, world)}/${wanted}`,
    step: progress.step === undefined ? undefined : `${progress.step}/${progress.steps ?? '?'}`,
    loss: progress.loss?.toFixed(3),
    heldOutLoss: progress.heldOutLoss?.toFixed(3),
    tokensPerSecond: running ? progress.tokensPerSecond?.toFixed(0) : undefined,
    eta: running && progress.etaSeconds !== undefined ? formatSeconds(progress.etaSeconds) : undefined,
  };
}

/** `45s`, `2m10s`, `3h05m`, `2d4h`. */
function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days}d${hours}h`;
  if (hours > 0) return `${hours}h${String(minutes).padStart(2, '0')}m`;
  return minutes > 0 ? `${minutes}m${whole % 60}s` : `${whole}s`;
}
