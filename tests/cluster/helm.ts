// Helm, and what it makes of our chart.
import { join, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';

export const chart = resolve(import.meta.dirname, '../../charts/windlass');

/** An object of the chart, as far as tests look into it. */
export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly spec?: unknown;
  readonly rules?: readonly Rule[];
}

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** Standard output of Helm; throws with what it says when it fails. Its settings are in `home`: those of the machine do not matter. */
export async function helm(home: string, ...args: string[]): Promise<string> {
  await build(['helm'], (line) => process.stderr.write(`helm: ${line}\n`));
  const places = ['cache', 'config', 'data'].map((name) => [`HELM_${name.toUpperCase()}_HOME`, join(home, name)]);
  return await capture(binaryOf('helm'), args, { env: { ...process.env, ...Object.fromEntries(places) } });
}

/** The chart's YAML with values given as `--set` and other flags. */
export function template(home: string, ...flags: string[]): Promise<string> {
  return helm(home, 'template', 'windlass', chart, '--namespace', 'windlass-system', ...flags);
}

export function objectsIn(text: string): Rendered[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
}
