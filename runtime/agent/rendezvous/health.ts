// Tells a hang and a straggler from what the ranks report. Pure: time is passed in.
import { medianOf } from '#runtime/api/step-times.ts';
import type { CollectiveState, Heartbeat, RankPhase } from '#runtime/api/messages.ts';

/** What is known of a rank whose process runs. Times in ms from any fixed point. */
export interface Vitals {
  readonly rank: number;
  readonly pod: string;
  readonly startedAt: number;
  /** Newest heartbeat of this process, and when it came. */
  readonly heartbeat?: Heartbeat | undefined;
  readonly heardAt: number;
  /** When its step, phase or a collective last changed. */
  readonly advancedAt: number;
}

export interface Hang {
  readonly rank: number;
  /** What is wrong, naming rank, pod, operation and call site. */
  readonly message: string;
  readonly collective?: CollectiveState | undefined;
}

const shortestHangMs = 60_000;
/** Until a step has been timed: the first one pays for what later ones find ready. */
const untimedHangMs = 600_000;
const medianSteps = 5;
/** A job that wants hangs found fast still starts on machines that have much else to do. */
const shortestPreparingMs = 10_000;
/** From the start of the process to its first heartbeat, which it sends when its code is loaded. */
const longestStartMs = 120_000;
/** A phase other than preparing and stepping is silent for this long at most: nothing in it keeps the event loop busy for longer. */
const longestSilenceMs = 600_000;
/** A rank that says what it prepares also says how far it is, chunk by chunk. */
const longestChunkMs = 600_000;
/** How long a phase may go on without a sign of advance. The first step of a large model belongs to the preparation. */
const phaseLimitMs: Record<Exclude<RankPhase, 'stepping'>, number> = {
  preparing: 7_200_000,
  evaluating: 3_600_000,
  checkpointing: 1_800_000,
  publishing: 3_600_000,
};

/** How long ranks may do without a step or a heartbeat while they step, and without a heartbeat while they prepare. */
export interface HangLimits {
  readonly steppingMs: number;
  readonly preparingMs: number;
}

/** max(60 s, five median steps) unless the job says otherwise. Preparation is made of small parts: between two of them goes a heartbeat. */
export function hangLimits(configuredMs: number | undefined, medianStepMs: number | undefined): HangLimits {
  const measuredMs = medianStepMs === undefined ? untimedHangMs : Math.max(shortestHangMs, medianSteps * medianStepMs);
  return { steppingMs: configuredMs ?? measuredMs, preparingMs: Math.max(shortestPreparingMs, configuredMs ?? shortestHangMs) };
}

/** The rank that holds the others up, if there is one. */
export function findHang(ranks: readonly Vitals[], now: number, limits: HangLimits): Hang | undefined {
  const silent = ranks.find((rank) => now - rank.heardAt > silenceLimit(rank, limits));
  if (silent) {
    const seconds = Math.round((now - silent.heardAt) / 1000);
    const message = `${nameOf(silent)} has given no sign of life for ${seconds} s, ${whereIs(silent)}`;
    return { rank: silent.rank, message, collective: newestOf(silent) };
  }
  const beating = ranks.filter(({ heartbeat }) => heartbeat !== undefined);
  const limitMs = Math.max(...beating.map(({ heartbeat }) => advanceLimit(heartbeat!, limits)));
  const stalledMs = now - Math.max(...beating.map(({ advancedAt }) => advancedAt));
  if (beating.length < ranks.length || beating.length === 0 || stalledMs <= limitMs) return undefined;
  return nameCulprit(beating, Math.round(stalledMs / 1000));
}

function silenceLimit({ heartbeat }: Vitals, { steppingMs, preparingMs }: HangLimits): number {
  if (!heartbeat) return Math.max(preparingMs, longestStartMs);
  if (isPreparing(heartbeat)) return preparingMs;
  return heartbeat.phase === 'stepping' ? steppingMs : Math.max(steppingMs, longestSilenceMs);
}

function advanceLimit(heartbeat: Heartbeat, { steppingMs }: HangLimits): number {
  const { phase } = heartbeat;
  if (isPreparing(heartbeat)) return Math.max(steppingMs, longestChunkMs);
  return phase === 'stepping' ? steppingMs : Math.max(steppingMs, phaseLimitMs[phase]);
}

/** Whether the rank prepares something that it can say the progress of. */
export function isPreparing({ phase, activity }: Heartbeat): boolean {
  return phase === 'preparing' && activity !== undefined;
}

/** Of ranks that stand still: who has not entered what others wait in, or else who waits for nobody. */
function nameCulprit(ranks: readonly Vitals[], seconds: number): Hang {
  const waiting = ranks.flatMap((rank) => waitsOf(rank).map((collective) => ({ rank, collective })));
  const behind = waiting.flatMap(({ collective }) =>
    ranks
      .filter((rank) => stateIn(rank, collective.group) && stateIn(rank, collective.group)!.sequence < collective.sequence)
      .map((rank) => ({ rank, collective })),
  );
  const isFree = (rank: Vitals) => waitsOf(rank).length === 0;
  // One that waits itself is held up by another; the first cause waits for nobody.
  const found = behind.find(({ rank }) => isFree(rank)) ?? behind[0];
  const free = ranks.find(isFree);
  const [firstWait] = waiting;
  const culprit = found ?? (free && firstWait ? { rank: free, collective: firstWait.collective } : undefined);
  if (culprit) {
    const { rank, collective } = culprit;
    const waiters = waiting.filter((wait) => wait.collective.group === collective.group && wait.rank.rank !== rank.rank);
    const numbers = [...new Set(waiters.map((wait) => wait.rank.rank))];
    const who = numbers.length === 1 ? `rank ${numbers[0]} waits` : `ranks ${numbers.join(', ')} wait`;
    const message = `${nameOf(rank)} has not entered ${collectiveInWords(collective)} that ${who} in for ${seconds} s, ${whereIs(rank)}`;
    return { rank: rank.rank, message, collective };
  }
  const [first] = firstWait ? [firstWait.rank] : ranks;
  const collective = firstWait?.collective;
  const what = collective ? `waits in ${collectiveInWords(collective)}, as every rank waits in something` : 'computes';
  return { rank: first!.rank, message: `${nameOf(first!)} ${what}; no rank has advanced for ${seconds} s`, collective };
}

const waitsOf = ({ heartbeat }: Vitals) => heartbeat?.collectives.filter(({ state }) => state === 'waiting') ?? [];
const stateIn = ({ heartbeat }: Vitals, group: string) => heartbeat?.collectives.find((state) => state.group === group);
const nameOf = ({ rank, pod }: { rank: number; pod: string }) => `rank ${rank} (pod ${pod})`;

/** The collective that a rank waits in, or the first that it reports. */
export function newestOf({ heartbeat }: Pick<Vitals, 'heartbeat'>): CollectiveState | undefined {
  return heartbeat?.collectives.find(({ state }) => state === 'waiting') ?? heartbeat?.collectives[0];
}

/** `all-reduce 17 of group data-0 (call site block 3 gradient)` */
export function collectiveInWords({ operation, sequence, group, site }: CollectiveState): string {
  return `${operation} ${sequence} of group ${group} (call site ${site})`;
}

function whereIs(rank: Vitals): string {
  const { heartbeat } = rank;
  if (!heartbeat) return 'before its first heartbeat';
  const collective = newestOf(rank);
  const last = collective ? ` ${collective.state === 'waiting' ? 'in' : 'after'} ${collectiveInWords(collective)}` : '';
  const activity = heartbeat.activity === undefined ? '' : ` (${heartbeat.activity})`;
  return `${heartbeat.phase}${activity} at step ${heartbeat.step}${last}`;
}

const slowFactor = 1.5;
const slowSteps = 20;

/** A rank whose steps took more than 1.5 times the computing of the others' median, over 20 steps, in words. */
export function findStraggler(ranks: readonly Vitals[]): string | undefined {
  const cohorts = Map.groupBy(ranks, ({ heartbeat }) => heartbeat?.cohort ?? '');
  return cohorts
    .values()
    .map(slowestOf)
    .find((found) => found !== undefined);
}

/** Among ranks that do the same work. */
function slowestOf(ranks: readonly Vitals[]): string | undefined {
  const timed = ranks.flatMap(({ rank, pod, heartbeat }) =>
    heartbeat?.computeMs !== undefined && heartbeat.measuredSteps >= slowSteps ? [{ rank, pod, ms: heartbeat.computeMs }] : [],
  );
  if (timed.length < 2 || timed.length < ranks.length) return undefined;
  const slowest = timed.reduce((a, b) => (b.ms > a.ms ? b : a));
  const others = medianOf(timed.filter((one) => one !== slowest).map(({ ms }) => ms));
  if (slowest.ms <= slowFactor * others) return undefined;
  const times = (slowest.ms / others).toFixed(1);
  return `${nameOf(slowest)} computes ${slowest.ms.toFixed(0)} ms a step, ${times} times the median of the others (${others.toFixed(0)} ms)`;
}
