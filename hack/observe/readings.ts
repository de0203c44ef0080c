// Reads metrics pages at even times, as Prometheus would, and gives the series their labels.
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePage, seriesName } from './recording.ts';
import type { Recording, Sample } from './recording.ts';

/** A page that is read, and what the monitors of the chart say about where it is from. Labels of the page win, as `honorLabels` asks. */
export interface Target {
  readonly url: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What says when a thing was: kept as seconds from the beginning of the recording. */
const times = /_(timestamp|time)_seconds$/;

/**
 * Reads until `done` aborts. `find` is asked before each reading which targets there are. Series of times count from the beginning, and so do
 * those of the process itself.
 */
export async function readMetrics(
  find: () => Promise<readonly Target[]>,
  intervalSeconds: number,
  done: AbortSignal,
): Promise<Recording> {
  const startSeconds = Date.now() / 1000;
  const found = new Map<string, { name: string; labels: Sample['labels']; values: (number | undefined)[] }>();
  for (let reading = 0; !done.aborted; reading++) {
    const pages = await Promise.all((await find()).map(readTarget));
    for (const { name, labels, value } of pages.flat()) {
      const key = seriesName({ name, labels });
      const series = found.get(key) ?? { name, labels, values: [] };
      found.set(key, series);
      series.values[reading] = times.test(name) && value > 1e9 ? Math.round((value - startSeconds) * 1000) / 1000 : value;
    }
    const nextMs = (startSeconds + (reading + 1) * intervalSeconds) * 1000 - Date.now();
    await sleep(Math.max(0, nextMs), undefined, { signal: done }).catch(() => undefined);
  }
  const readings = Math.max(...[...found.values()].map(({ values }) => values.length));
  const series = [...found.values()].map(({ values, ...rest }) => ({
    ...rest,
    values: Array.from({ length: readings }, (_, index) => values[index]),
  }));
  return { intervalSeconds, series };
}

async function readTarget({ url, labels }: Target): Promise<Sample[]> {
  const up = (value: number) => ({ name: 'up', labels, value });
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(4000) });
    if (!response.ok) return [up(0)];
    const samples = parsePage(await response.text());
    return [up(1), ...samples.map((sample) => ({ ...sample, labels: { ...labels, ...sample.labels } }))];
  } catch {
    return [up(0)];
  }
}
