// The flat runs of parameters that a rank holds for its units, and which units compute with them.
import type { ModelConfig, ParameterSpec } from '#runtime/model/config.ts';
import type { Unit } from '../layout-units.ts';
import type { Parallelism } from '../parallelism.ts';
import { boxElements, isTensorSharded, tensorBox } from '../sharding.ts';

/** Sizes in elements. */
export interface FlatRun {
  readonly name: string;
  /** Parameters alone. */
  readonly elements: number;
  /** With padding: a multiple of `shardSize`. */
  readonly size: number;
  readonly shardSize: number;
  /** Of the parameters that every rank of a tensor group holds as a whole. */
  readonly replicated: number;
}

/** A unit with the runs that it computes with. A tied head on the rank of the embedding shares the run of the table. */
export interface HeldUnit {
  readonly unit: Unit;
  readonly runs: readonly FlatRun[];
}

/** Parameters, and shards of a run, begin at multiples of this many elements: 64 bytes. */
const alignment = 16;

/** The token table is a run of its own, because a tied head may stand on another rank than the embedding. */
export function heldUnits(
  config: ModelConfig,
  units: readonly Unit[],
  tensorRank: number,
  { tensor, dataShard }: Pick<Parallelism, 'tensor' | 'dataShard'>,
): HeldUnit[] {
  const runOf = (name: string, specs: readonly ParameterSpec[]) => flatRun(name, specs, tensorRank, tensor, dataShard);
  let table: FlatRun | undefined;
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
export function distinctRuns(held: readonly HeldUnit[]): FlatRun[] {
  return [...new Set(held.flatMap(({ runs }) => runs))];
}

/** Elements with padding of all runs of a unit. */
export function unitSize({ runs }: HeldUnit): number {
  return runs.reduce((sum, { size }) => sum + size, 0);
}

function flatRun(name: string, specs: readonly ParameterSpec[], rank: number, ranks: number, shards: number): FlatRun {
  const aligned = (elements: number) => Math.ceil(elements / alignment) * alignment;
  let [elements, offset, replicated] = [0, 0, 0];
  for (const spec of specs) {
    const own = boxElements(tensorBox(spec, rank, ranks));
    elements += own;
    offset += aligned(own);
    if (!isTensorSharded(spec)) replicated += aligned(own);
  }
  const shardSize = aligned(offset / shards);
  return { name, elements, size: shardSize * shards, shardSize, replicated };
}

function tableSpec({ vocabularySize, hiddenSize }: ModelConfig): ParameterSpec {
  const init = { kind: 'constant', value: 0 } as const;
  return { name: 'embedding.tokens', shape: [vocabularySize, hiddenSize], axes: ['vocabulary', 'hidden'], init, decay: true };
}
