// What each pipeline schedule asks of a layout.
import type { PipelineSchedule } from './parallelism.ts';

interface ScheduleRules {
  /** Stages that a rank may hold. */
  readonly stages: { readonly least: number; readonly most: number };
  /** Why `grains` per data rank don't suit `ranks` in the pipeline, with a number that would; undefined if they do. */
  readonly grainsFault: (grains: number, ranks: number) => string | undefined;
}

const any = () => undefined;
const one = { least: 1, most: 1 };
const two = { least: 2, most: 2 };

export const schedules: Readonly<Record<PipelineSchedule, ScheduleRules>> = {
  gpipe: { stages: one, grainsFault: any },
  '1f1b': { stages: one, grainsFault: any },
  zb1p: { stages: one, grainsFault: any },
  interleaved: { stages: { least: 2, most: Infinity }, grainsFault: any },
  zbv: { stages: two, grainsFault: any },
  dualpipev: {
    stages: two,
    grainsFault(grains, ranks) {
      if (grains >= 2 * ranks) return undefined;
      return `needs at least 2 x pipeline = ${2 * ranks} grains per data rank and has ${grains}; ${powerOfTwoFrom(2 * ranks)} would fit`;
    },
  },
};

/** Smallest power of two that is at least `least`. */
function powerOfTwoFrom(least: number): number {
  return 2 ** Math.ceil(Math.log2(least));
}
