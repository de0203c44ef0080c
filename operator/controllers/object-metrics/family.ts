// A metric that is computed from the objects of a kind at each reading, as kube-state-metrics does: nothing is kept between two readings.
import type { Counter, Registry } from 'prom-client';
import type { KubeObject } from '#crds/resource.ts';

export interface Sample {
  readonly value: number;
  /** Beside those of the object itself. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Family<T extends KubeObject> {
  readonly name: `windlass_${string}`;
  /** A counter goes up only, unless its object is made anew. */
  readonly type: 'gauge' | 'counter';
  readonly unit: string;
  readonly help: string;
  /** Labels beside those of the object itself. */
  readonly labels?: readonly string[];
  /** None where the object does not know. */
  readonly samples: (object: T) => readonly Sample[];
}

/** A family of at most one sample per object. */
export function single<T extends KubeObject>(
  family: Omit<Family<T>, 'samples' | 'labels'> & { value: (object: T) => number | undefined },
): Family<T> {
  const { value, ...rest } = family;
  return {
    ...rest,
    samples: (object) => {
      const known = value(object);
      return known === undefined ? [] : [{ value: known }];
    },
  };
}

/** Seconds since 1970 of a time as objects carry it. */
export function secondsOf(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time) / 1000;
}

/** One sample per word, 1 for the one that holds: what changes can be seen without a series that ends. */
export function oneOf(label: string, words: readonly string[], holds: string | undefined): Sample[] {
  return words.map((word) => ({ value: word === holds ? 1 : 0, labels: { [label]: word } }));
}

/** Registers a family whose values are those of `list` at each reading. `kind` is the label with the object's name. */
export function register<T extends KubeObject>(
  registry: Registry,
  family: Family<T>,
  kind: string,
  list: () => readonly T[],
): void {
  const { name, help, type, labels = [] } = family;
  const read = () => ({
    name,
    help,
    type,
    aggregator: 'sum',
    values: list().flatMap((object) => {
      const own = { namespace: object.metadata.namespace ?? '', [kind]: object.metadata.name };
      return family.samples(object).map((sample) => ({ value: sample.value, labels: { ...own, ...sample.labels } }));
    }),
  });
  // All that a registry asks of a metric; the library's own classes would keep every series.
  const metric = { name, help, type, labelNames: ['namespace', kind, ...labels], get: async () => read(), reset: () => {} };
  registry.registerMetric(metric as unknown as Counter);
}
