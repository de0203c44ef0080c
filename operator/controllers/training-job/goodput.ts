// What the time of a job went to: steps that count, and everything else by cause. Follows from two statuses, one after the other, and from what
// rank 0 tells of its own time; so it goes on where it was when the operator starts again. docs/failures.md defines each cause.
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { Goodput } from '#crds/v1alpha1/training-job-status.ts';
import type { RankClock } from '#runtime/api/messages.ts';
import { refusals } from '../reasons.ts';
import { waitsForRoom } from './run-conditions.ts';

export const lostCauses = [
  'waiting',
  'starting',
  'restarting',
  'repeating',
  'checkpointing',
  'evaluating',
  'hanging',
  'other',
] as const;
type LostCause = (typeof lostCauses)[number];

type Explained = Record<Exclude<LostCause, 'other'> | 'productive', number>;

const nothing: Explained = {
  productive: 0,
  waiting: 0,
  starting: 0,
  restarting: 0,
  repeating: 0,
  checkpointing: 0,
  evaluating: 0,
  hanging: 0,
};

/**
 * The account after `next`. It is brought up to now only when the status changes anyway: with the state, the reason of Ready, a fault, or
 * figures of the ranks. The sum of productive and lost time is always the time since the start without suspensions.
 */
export function goodputOf(
  before: TrainingJobStatus,
  next: TrainingJobStatus,
  clock: RankClock | undefined,
  now: number,
): Goodput | undefined {
  const known = before.goodput;
  if (known?.until === undefined) return { ...known, seconds: 0, productiveSeconds: 0, until: new Date(now).toISOString() };
  const isNew =
    before.state !== next.state ||
    readyReason(before) !== readyReason(next) ||
    before.progress?.time !== next.progress?.time ||
    before.lastFailure?.time !== next.lastFailure?.time;
  if (!isNew) return known;
  const passed = isCounted(before) ? Math.max(0, now - Date.parse(known.until)) / 1000 : 0;
  const told = toldBefore(known);
  const spent =
    before.state === 'Running' ? spentRunning(before, next, clock, passed) : { ...nothing, [idleCause(before)]: passed };
  const seconds = (known.seconds ?? 0) + passed;
  const explained = (known.seconds ?? 0) - (known.lost?.other ?? 0);
  const all = sumOf(spent);
  // Rank and operator do not read the same clock: what they count twice between them is taken off again.
  const share = all <= seconds - explained || all === 0 ? 1 : Math.max(0, seconds - explained) / all;
  const total = (cause: keyof Explained) => round(told[cause] + spent[cause] * share);
  const productiveSeconds = total('productive');
  const lost = Object.fromEntries(lostCauses.map((cause) => [cause, cause === 'other' ? 0 : total(cause)])) as Record<
    LostCause,
    number
  >;
  lost.other = round(Math.max(0, seconds - productiveSeconds - Object.values(lost).reduce((a, b) => a + b, 0)));
  const step = next.progress?.step;
  return {
    ratio: seconds > 0 ? round(productiveSeconds / seconds) : undefined,
    seconds: round(seconds),
    productiveSeconds,
    lost,
    newestStep: step === undefined ? known.newestStep : Math.max(known.newestStep ?? 0, step),
    until: new Date(now).toISOString(),
    clock: next.state === 'Suspended' ? undefined : (clock ?? known.clock),
  };
}

const toldBefore = ({ lost, productiveSeconds = 0 }: Goodput): Explained => ({
  ...nothing,
  ...Object.fromEntries(Object.entries(lost ?? {}).filter(([cause]) => cause !== 'other')),
  productive: productiveSeconds,
});

/** What ranks did between two of their reports. What they do not tell belongs to the fault that came, or to the restart before it. */
function spentRunning(
  before: TrainingJobStatus,
  next: TrainingJobStatus,
  clock: RankClock | undefined,
  passed: number,
): Explained {
  const spent = { ...nothing };
  const { goodput = {}, lastFailure } = before;
  const last = goodput.clock?.started === clock?.started ? goodput.clock : undefined;
  const isAnother = goodput.clock !== undefined && last === undefined;
  const comingUp = isAnother || hasFailed(before) ? 'restarting' : 'starting';
  if (clock) {
    const since = (what: 'preparing' | 'stepping' | 'evaluating' | 'checkpointing') =>
      Math.max(0, clock[what] - (last?.[what] ?? 0));
    const steps = clock.steps - (last?.steps ?? 0);
    const fresh = Math.max(0, (next.progress?.step ?? 0) - (goodput.newestStep ?? 0));
    const share = steps > 0 ? Math.min(1, fresh / steps) : 0;
    const stepping = since('stepping');
    spent.productive = stepping * share;
    spent.repeating = stepping * (1 - share);
    spent.evaluating = since('evaluating');
    spent.checkpointing = since('checkpointing');
    spent[comingUp] += since('preparing');
  }
  const untold = Math.max(0, passed - sumOf(spent));
  const isFault = next.lastFailure !== undefined && next.lastFailure.time !== lastFailure?.time;
  if (isFault) spent[next.lastFailure?.code === 'WL_HANG' ? 'hanging' : 'restarting'] += untold;
  // Before the first word of a process it was being started.
  else if (clock && !last) spent[comingUp] += untold;
  return spent;
}

/** Whether there was a fault since the job started, or went on after a suspension. */
function hasFailed({ lastFailure, startTime }: TrainingJobStatus): boolean {
  return lastFailure !== undefined && (startTime === undefined || Date.parse(lastFailure.time) >= Date.parse(startTime));
}

/** Whether the time in a state is time of the job. */
function isCounted({ state }: TrainingJobStatus): boolean {
  return state !== undefined && state !== 'Suspended' && state !== 'Succeeded' && state !== 'Failed';
}

/** What a job loses time to while its pods do not run. */
function idleCause(status: TrainingJobStatus): Exclude<LostCause, 'other'> {
  const reason = readyReason(status) ?? '';
  if (status.state === 'Pending' || waitsForRoom.has(reason) || Object.hasOwn(refusals, reason)) return 'waiting';
  return status.state === 'Restarting' ? 'restarting' : 'starting';
}

function readyReason({ conditions }: TrainingJobStatus): string | undefined {
  return conditions?.find(({ type }) => type === 'Ready')?.reason;
}

const sumOf = (explained: Explained) => Object.values(explained).reduce((sum, seconds) => sum + seconds, 0);
const round = (seconds: number) => Math.round(seconds * 1000) / 1000;
