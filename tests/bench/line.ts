// What a bench leaves: one JSON line with our figures, the peer's, their ratio, and what the machine could do at the same time.

export const isaClasses = ['native', 'avx2'] as const;
/** What both sides may use: all that the machine has, or AVX2 and FMA. */
export type IsaClass = (typeof isaClasses)[number];

/** What the machine can do, measured in the rounds of the same run. */
export interface Limits {
  /** Multiply-adds of all threads, GFLOP/s. */
  readonly fma: number;
  /** Reading memory, GB/s. */
  readonly read: number;
  /** Reading memory and writing it back: bytes of both, GB/s. */
  readonly copy: number;
}

export interface BenchRow {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer?: number;
  /** Above 1 we are better. */
  readonly ratio?: number;
  /** The same of processor time, which hardly depends on what else the machine does. */
  readonly cpuRatio?: number;
  /** Which of several peers the figure is of. */
  readonly peerName?: string;
  readonly limit?: keyof Limits;
  readonly percentOfLimit?: number;
}

export interface BenchLine {
  readonly bench: string;
  /** What was measured, where a bench can measure several things: a model. */
  readonly subject: string;
  readonly isa: IsaClass;
  /** Date and time, UTC. */
  readonly at: string;
  readonly cpu: string;
  readonly threads: number;
  /** The instruction set of our kernels. */
  readonly kernels: string;
  /** Load average of one minute when it began: above the number of cores, only ratios mean something. */
  readonly load: number;
  readonly limits: Limits;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly rows: readonly BenchRow[];
  /** What else is to be known, a sentence each. */
  readonly notes?: readonly string[] | undefined;
}

interface Sides {
  readonly ours: number;
  readonly peer?: number | undefined;
  readonly better?: 'more' | 'less';
  readonly peerName?: string;
}

/** A row of two rates (more is better) or two times (less is). */
export function rowOf(name: string, unit: string, { ours, peer, better = 'more', peerName }: Sides): BenchRow {
  if (peer === undefined) return { name, unit, ours };
  const ratio = better === 'more' ? ours / peer : peer / ours;
  return { name, unit, ours, peer, ratio, ...(peerName === undefined ? {} : { peerName }) };
}

/** The row with the share of a limit that `rate` of ours is, in the unit of the limit. */
export function withLimit(row: BenchRow, limit: keyof Limits, rate: number, limits: Limits): BenchRow {
  return { ...row, limit, percentOfLimit: (100 * rate) / limits[limit] };
}
