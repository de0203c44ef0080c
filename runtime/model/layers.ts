// The layers of a model that several ranks may share: what they are to the forward pass, and how one device does them alone.
import { crossEntropy, embedding, linear, linears } from '#runtime/tensor/main.ts';
import type { Parameter, Tensor } from '#runtime/tensor/main.ts';
import type { LinearWeights } from './model.ts';

/**
 * How the layers whose weights may be cut are computed. Between blocks a rank has 1 / `share` of the positions of each sequence; attention
 * and MLP see all of them. The forward pass calls these and knows nothing of ranks.
 */
export interface Layers {
  readonly share: number;
  /** Which of the shares is here, from 0. */
  readonly part: number;
  /** Which of how many ranks this is among those that hold a part of each cut layer: parts are in order of ranks. */
  readonly cut: { readonly rank: number; readonly ranks: number };
  /** A parameter that every rank holds whole and uses on heads of its own alone: its gradient is summed over ranks. */
  readonly common: (parameter: Parameter) => Tensor;
  /** Several layers of the same input, cut by outputs: x [M / share, D] -> [M, own outputs] each. `outputUnit` is the unit of those. */
  columns(x: Tensor, layers: readonly LinearWeights[], outputUnit?: number): Tensor[];
  /** A layer cut by inputs: x [M, own inputs] -> [M / share, D]. `unit` is the unit of its inputs. */
  rows(x: Tensor, layer: LinearWeights, unit?: number): Tensor;
  /** Rows of a table cut by the vocabulary: ids [M] -> [M / share, D]. */
  embed(ids: Tensor, table: Parameter): Tensor;
  /** Losses in nats of all tokens, with a head cut by the vocabulary: hidden [M / share, D], targets [M] -> [M]. */
  losses(hidden: Tensor, head: Parameter, targets: Tensor, weight: number): Tensor;
}

/** All of it on one device. */
export const wholeLayers: Layers = {
  share: 1,
  part: 0,
  cut: { rank: 0, ranks: 1 },
  common: (parameter) => parameter,
  columns: (x, layers, outputUnit) => linears(x, layers, outputUnit === undefined ? {} : { outputUnit }),
  rows: (x, { weight, bias }, unit) => linear(x, weight, bias, unit === undefined ? {} : { unit }),
  embed: (ids, table) => embedding(ids, table),
  losses: (hidden, head, targets, weight) => crossEntropy(hidden, head, targets, { weight }),
};
