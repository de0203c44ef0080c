// Every metric that our programs export, as they declare it themselves: docs/metrics.md lists them, and dashboards may name no other.
import type { Registry } from 'prom-client';
import { objectFamilies } from '#operator/controllers/object-metrics/main.ts';
import { createJobMetrics } from '#operator/controllers/training-job/job-metrics.ts';
import { addProcessMetrics, createMetrics } from '#operator/framework/metrics.ts';
import { createTrustMetrics } from '#operator/trust/trust-metrics.ts';
import { createMetrics as createEngineMetrics } from '#runtime/serve/metrics.ts';

export interface Exported {
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly unit: string;
  readonly labels: readonly string[];
  readonly help: string;
}

/** What a metric object of the library tells of itself. */
interface Declared {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
  readonly constructor: { readonly name: string };
}

function listed(registry: Registry): Exported[] {
  return (registry.getMetricsAsArray() as unknown as Declared[]).map((metric) => ({
    name: metric.name,
    type: metric.constructor.name.toLowerCase() as Exported['type'],
    unit: unitOf(metric.name),
    labels: [...(metric.labelNames ?? [])],
    help: metric.help,
  }));
}

/** What a name ends with says the unit. */
function unitOf(name: string): string {
  if (/_timestamp_seconds$|_start_time_seconds$/.test(name)) return 'seconds since 1970';
  for (const unit of ['seconds', 'bytes']) if (name.includes(`_${unit}`)) return unit;
  if (name.endsWith('_perc')) return '0 to 1';
  return /_tokens(_total)?$|cache_(queries|hits)_total$/.test(name) ? 'tokens' : '1';
}

const operatorOf = (): Exported[] => {
  const { registry } = createMetrics();
  createJobMetrics(registry);
  createTrustMetrics(registry);
  return listed(registry);
};

const processOf = (): Exported[] => {
  const { registry } = createMetrics();
  const own = new Set(listed(registry).map(({ name }) => name));
  addProcessMetrics(registry);
  return listed(registry).filter(({ name }) => !own.has(name));
};

const ofProcess = processOf();
const processNames = new Set(ofProcess.map(({ name }) => name));

export const exported = {
  operator: operatorOf(),
  engine: listed(createEngineMetrics('m', () => undefined).registry).filter(({ name }) => !processNames.has(name)),
  process: ofProcess,
  objects: Object.fromEntries(
    Object.entries(objectFamilies).map(([kind, families]) => [
      kind,
      families.map(({ name, type, unit, help, labels = [] }): Exported => ({
        name,
        type,
        unit,
        help,
        labels: ['namespace', kind, ...labels],
      })),
    ]),
  ) as Record<keyof typeof objectFamilies, Exported[]>,
} as const;

/** Names that series of a metric have: those of a histogram have endings. */
function seriesNames({ name, type }: Exported): string[] {
  return type === 'histogram' ? ['_bucket', '_sum', '_count'].map((ending) => name + ending) : [name];
}

/** Names of all series, `up` of Prometheus itself not among them. */
export function allSeriesNames(): Set<string> {
  const { operator, engine, process, objects } = exported;
  return new Set([operator, engine, process, ...Object.values(objects)].flat().flatMap(seriesNames));
}
