// A recording that lasts as long as wanted, and what becomes of it when something goes wrong from a moment on.
import type { Recording, Series } from '../../../hack/observe/recording.ts';

/** Names of series that only rise, or begin anew with their process. */
const rises = /_(total|bucket|sum|count)$/;
const isTime = /_timestamp_seconds$/;

/** The recording again and again: what counts goes on from where it was, times go with the clock, the rest repeats. */
export function lasting({ intervalSeconds, series }: Recording, seconds: number): Recording {
  const readings = Math.ceil(seconds / intervalSeconds) + 1;
  return { intervalSeconds, series: series.map((one) => ({ ...one, values: repeated(one, readings, intervalSeconds) })) };
}

function repeated({ name, values }: Series, readings: number, intervalSeconds: number): (number | undefined)[] {
  const known = values.filter((value) => value !== undefined);
  const gain = rises.test(name) ? (known.at(-1) ?? 0) - (known[0] ?? 0) : isTime.test(name) ? values.length * intervalSeconds : 0;
  let last: number | undefined;
  return Array.from({ length: readings }, (_, index) => {
    const value = values[index % values.length];
    const round = Math.floor(index / values.length);
    // What counts keeps what it has counted while its process is not read.
    if (value !== undefined) last = value + round * gain;
    return value === undefined && !rises.test(name) ? undefined : last;
  });
}

/** A fault, as it changes what is read from its beginning on. */
export interface Change {
  /** Whether a series is touched. */
  readonly of: (series: Series) => boolean;
  /**
   * What it is then: `held` is the value at the beginning of the fault, `value` what would be read, `seconds` the time since `start`. undefined: nothing.
   * `held` is undefined where the series was not there.
   */
  readonly value: (at: {
    held: number | undefined;
    value: number | undefined;
    seconds: number;
    start: number;
    series: Series;
  }) => number | undefined;
  /** Makes another series of one that is touched, which is left as it is. */
  readonly as?: Readonly<Record<string, string>>;
}

/** The recording with a fault from `fromSeconds` on. The first change that touches a series counts. */
export function faulty({ intervalSeconds, series }: Recording, fromSeconds: number, changes: readonly Change[]): Recording {
  const from = Math.round(fromSeconds / intervalSeconds);
  const changed = (one: Series, change: Change): Series => {
    const labels = { ...one.labels, ...change.as };
    const values = one.values.map((value, index) => {
      if (index < from) return change.as ? undefined : value;
      return change.value({
        held: one.values[from],
        value,
        seconds: (index - from) * intervalSeconds,
        start: from * intervalSeconds,
        series: one,
      });
    });
    return { ...one, labels, values };
  };
  const made = changes.filter(({ as }) => as).flatMap((change) => series.filter(change.of).map((one) => changed(one, change)));
  const kept = series.map((one) => {
    const change = changes.find(({ of, as }) => !as && of(one));
    return change ? changed(one, change) : one;
  });
  return { intervalSeconds, series: [...kept, ...made] };
}
