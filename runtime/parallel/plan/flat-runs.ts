// The flat runs of parameters that a rank holds for its units, and which units compute with them.
import type { ModelConfig, ParameterSpec } from '#runtime/model/config.ts';
import { FlatLayout } from '../execution/flat-layout.ts';
import type { Unit } from '../layout-units.ts';
import type { Parallelism } from '../parallelism.ts';
import { tensorBox } from '../sharding.ts';

/** A unit with the runs that it computes with. A tied head on the rank of the embedding shares the run of the table. */
export interface HeldUnit {
  readonly unit: Unit;
  readonly runs: readonly FlatLayout[];
}

/** The token table is a run of its own, because a tied head may stand on another rank than the embedding. */
export function heldUnits(
  config: ModelConfig,
  units: readonly Unit[],
  tensorRank: number,
  { tensor, dataShard }: Pick<Parallelism, 'tensor' | 'dataShard'>,
): HeldUnit[] {
  const runOf = (name: string, specs: readonly ParameterSpec[]) =>
    new FlatLayout(
      name,
      specs.map((spec) => ({ spec, box: tensorBox(spec, tensorRank, tensor) })),
      dataShard,
    );
  let table: FlatLayout | undefined;
  return units.map((unit) => {
    if (unit.kind === 'block') return { unit, runs: [runOf(unit.name, unit.parameters)] };
    const named = (prefix: string) => unit.parameters.filter(({ name }) => name === prefix || name.startsWith(`${prefix}.`));
    const names = unit.kind === 'embedding' ? ['embedding.tokens', 'embedding.positions'] : ['finalNorm', 'head'];
    const runs = names.flatMap((name) => (named(name).length > 0 ? [runOf(name, named(name))] : []));
    if (unit.kind === 'embedding') table = runs[0];
    else if (config.tieEmbeddings) runs.push(table ?? runOf('embedding.tokens', [tableSpec(config)]));
    return { unit, runs };
  });
}

/** Runs of these units, each once. */
export function distinctRuns(held: readonly HeldUnit[]): FlatLayout[] {
  return [...new Set(held.flatMap(({ runs }) => runs))];
}

/** Units with the runs whose gradients they sum up: that of a tied table is added to by the embedding where `addsTableGradient`. */
export function summedUnits(held: readonly HeldUnit[]): HeldUnit[] {
  const head = held.find(({ unit }) => unit.kind === 'head');
  return held.map(({ unit, runs }) => ({
    unit,
    runs: unit.kind === 'embedding' ? runs.filter((run) => !head?.runs.includes(run)) : runs,
  }));
}

/** Elements of a run without padding. */
export function runElements({ entries }: FlatLayout): number {
  return entries.reduce((sum, { size }) => sum + size, 0);
}

/** Elements with padding of all runs of a unit. */
export function unitSize({ runs }: HeldUnit): number {
  return runs.reduce((sum, { size }) => sum + size, 0);
}

function tableSpec({ vocabularySize, hiddenSize }: ModelConfig): ParameterSpec {
  const init = { kind: 'constant', value: 0 } as const;
  return { name: 'embedding.tokens', shape: [vocabularySize, hiddenSize], axes: ['vocabulary', 'hidden'], init, decay: true };
}
