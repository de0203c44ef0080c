// How many parameter elements a rank holds in each of its units, and what a tied embedding adds.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { Unit } from '../layout-units.ts';
import { boxElements, tensorBox } from '../sharding.ts';

export interface RankParameters {
  /** Elements of each unit. */
  readonly units: readonly number[];
  /** Elements of the second gradient of a tied embedding, where table and head are on one rank. */
  readonly tiedHead: number;
  /** Elements of a tied embedding of which another rank of the pipeline holds a copy: their gradients are exchanged. */
  readonly sharedEmbedding: number;
}

/** A head that is tied to an embedding on another rank holds a copy of it. */
export function rankParameters(config: ModelConfig, units: readonly Unit[], rank: number, ranks: number): RankParameters {
  const elementsOf = ({ parameters }: Unit) =>
    parameters.reduce((sum, spec) => sum + boxElements(tensorBox(spec, rank, ranks)), 0);
  const table = { shape: [config.vocabularySize, config.hiddenSize], axes: ['vocabulary', 'hidden'] } as const;
  const tied = config.tieEmbeddings ? boxElements(tensorBox(table, rank, ranks)) : 0;
  const has = (kind: Unit['kind']) => units.some((unit) => unit.kind === kind);
  const both = has('embedding') && has('head');
  return {
    units: units.map((unit) => elementsOf(unit) + (unit.kind === 'head' && !both ? tied : 0)),
    tiedHead: both ? tied : 0,
    sharedEmbedding: has('embedding') !== has('head') ? tied : 0,
  };
}
