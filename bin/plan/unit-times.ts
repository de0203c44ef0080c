// What the embedding, each block and the head cost, as the ranks of a job measured it.
import { WindlassError } from '#runtime/api/errors.ts';
import type { RankTraceFile, TracedAction, TracedUnit } from './trace-files.ts';

/** Milliseconds for one grain. */
export interface UnitTime {
  readonly forward: number;
  /** Both gradients, and what is computed again. */
  readonly backward: number;
}

/**
 * Medians over all passes of all ranks: of the embedding, each block, and the head. Where a schedule puts gradients of weights off, they are
 * measured for a whole stage, and shared out to its units by their forward passes. Throws WL_USAGE if a unit is missing or there are more.
 */
export function unitTimes(traces: readonly RankTraceFile[], layers: number): UnitTime[] {
  const passes = traces.flatMap(passesOf);
  const later = Map.groupBy(
    traces.flatMap(({ actions }) => actions.filter(({ type }) => type === 'backwardWeight')),
    ({ stage }) => stage,
  );
  const times = Array.from({ length: layers + 2 }, (_, unit): UnitTime => {
    const own = passes.filter((pass) => pass.unit === unit);
    const of = (pass: string, isWhole = true) => own.filter((each) => each.pass === pass && each.isWhole === isWhole);
    const [forward, whole, half] = [of('forward'), of('backward'), of('backward', false)].map(medianOf);
    if (forward === undefined || (whole ?? half) === undefined) throw missing(traces, nameOf(unit, layers));
    return { forward, backward: whole ?? half! + shareOf(unit) };
  });
  if (passes.some(({ unit }) => unit >= layers + 2)) {
    throw new WindlassError('WL_USAGE', `${traces[0]!.path} is of a model with more than ${layers} layers`);
  }
  return times;

  /** Of the gradients of weights of its stage. */
  function shareOf(unit: number): number {
    const { stage } = passes.find((pass) => pass.unit === unit)!;
    const weights = medianOf(later.get(stage) ?? []) ?? 0;
    const members = new Set(passes.filter((pass) => pass.stage === stage).map((pass) => pass.unit));
    const forward = (each: number) => medianOf(passes.filter(({ unit: of, pass }) => of === each && pass === 'forward')) ?? 0;
    const all = [...members].reduce((sum, each) => sum + forward(each), 0);
    return all === 0 ? 0 : (weights * forward(unit)) / all;
  }
}

/** `embedding`, `block 3`, `head`. */
export function nameOf(unit: number, layers: number): string {
  return unit === 0 ? 'embedding' : unit > layers ? 'head' : `block ${unit - 1}`;
}

interface Pass extends TracedUnit {
  readonly stage: number;
  /** false: a backward pass that leaves the gradients of weights for later. */
  readonly isWhole: boolean;
}

/** Passes through units, each with what its action says. Actions of a rank run one after the other. */
function passesOf({ actions, units }: RankTraceFile): Pass[] {
  const sorted = [...actions].sort((a, b) => a.start - b.start);
  const around = (unit: TracedUnit): TracedAction | undefined => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sorted[middle]!.start <= unit.start) low = middle + 1;
      else high = middle;
    }
    return sorted[low - 1];
  };
  return units.flatMap((unit) => {
    const action = around(unit);
    return action ? [{ ...unit, stage: action.stage, isWhole: unit.pass === 'forward' || action.type === 'backward' }] : [];
  });
}

function medianOf(spans: readonly { readonly start: number; readonly end: number }[]): number | undefined {
  const sorted = spans.map(({ start, end }) => end - start).sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

function missing(traces: readonly RankTraceFile[], name: string): WindlassError {
  const { path, world } = traces[0]!;
  const files = `${traces.length} of ${world} ranks`;
  return new WindlassError('WL_USAGE', `${path}: the traces of ${files} have no pass through ${name}; is it another model?`);
}
