// Closed formulas for bubble and activations in flight; `simulate` must give the same.
import type { ScheduleWishes } from '../build.ts';
import { interleavedWarmup } from '../generators/interleaved.ts';
import type { StageCost } from './simulate.ts';

/**
 * Time for which each rank computes nothing in a step, p ranks, v stages per rank, m grains; F, I, W: forward, input gradient,
 * weight gradient of one stage, equal for all stages, sends free; B = I + W. undefined where no formula is known.
 * - gpipe, 1f1b: (p - 1)(F + B) (Narayanan et al., arXiv 2104.04473, section 2.2.1).
 * - interleaved: (p - 1)(F + B), of stages that are v times as short (same, 2.2.2); with m < p the grains can't fill a round: and
 *   (v - 1)(p - m)(F + B) more.
 * - zb1p: (p - 1)(F + I - W), W <= F and I, m >= p (Qi et al., arXiv 2401.10241, section 2.3, where B is I). In general
 *   (p - 1)(F + I), and each further grain up to p hides the shortest of the three.
 * - zbv, F = I = W: (p - 1) F: no rank waits between its first action and its last (same, section 6), and the last rank starts
 *   p - 1 forwards late. With m <= p: (4(p - 1) - 2(m - 1)) F. Between p and 2p - 1 no formula is known.
 * - dualpipev, F = I: (p - 1)(F + I - min(W, F)), where forward and backward of a pair run one after the other. (Where they
 *   overlap, DeepSeek-V3 gives (p - 1)(F&B + B - 3W); arXiv 2412.19437, table 2, p there being 2p here.)
 */
export function idleTime(wishes: ScheduleWishes, cost: StageCost): number | undefined {
  const { schedule, pipeline: p, stagesPerRank: v, grains: m } = wishes;
  const { forward: F, backwardInput: I, backwardWeight: W } = cost;
  switch (schedule) {
    case 'gpipe':
    case '1f1b':
      return (p - 1) * (F + I + W);
    case 'interleaved':
      return (p - 1 + (v - 1) * Math.max(0, p - m)) * (F + I + W);
    case 'zb1p':
      return (p - 1) * (F + I) - (Math.min(m, p) - 1) * Math.min(F, I, W);
    case 'zbv':
      if (F !== I || I !== W || (m > p && m < 2 * p - 1)) return undefined;
      return (m <= p ? 4 * (p - 1) - 2 * (m - 1) : p - 1) * F;
    case 'dualpipev':
      return F === I ? (p - 1) * (F + I - Math.min(W, F)) : undefined;
  }
}

/** `idleTime` as a share of the step, 0 to 1. */
export function bubbleShare(wishes: ScheduleWishes, cost: StageCost): number | undefined {
  const idle = idleTime(wishes, cost);
  const busy = wishes.stagesPerRank * wishes.grains * (cost.forward + cost.backwardInput + cost.backwardWeight);
  return idle === undefined ? undefined : idle / (idle + busy);
}

/**
 * Most grains whose activations each rank holds at one time, counted per stage: a grain in two of its stages counts twice. Held
 * from the forward to the end of the weight gradient.
 * - gpipe: m. 1f1b: min(m, p - r) on rank r (Narayanan et al., section 2.2.1).
 * - interleaved: one more than the forwards before the first backward; (v - 1)p + 2(p - r - 1) + 1 if p divides m.
 * - zb1p: min(m, p) on every rank (Qi et al., section 2.2: at most what 1f1b holds on rank 0).
 * - zbv: 2p stages of half the size on every rank (same, section 6); fewer for m < 2p - 1.
 * - dualpipev: 2p + 1 (DeepSeek-V3, table 2).
 */
export function activationsHeld(wishes: ScheduleWishes): number[] {
  const { schedule, pipeline: p, stagesPerRank: v, grains: m } = wishes;
  const held = (rank: number): number => {
    switch (schedule) {
      case 'gpipe':
        return m;
      case '1f1b':
        return Math.min(m, p - rank);
      case 'interleaved':
        return Math.min(v * m, interleavedWarmup(p, rank, m, v) + 1);
      case 'zb1p':
        return Math.min(m, p);
      case 'zbv':
        return Math.min(2 * m, m + 1 + rank, 2 * p);
      case 'dualpipev':
        return 2 * p + 1;
    }
  };
  return Array.from({ length: p }, (_, rank) => held(rank));
}
