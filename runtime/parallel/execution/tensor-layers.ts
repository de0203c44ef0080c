// Layers cut over a tensor group: by outputs, then by inputs, with one exchange before and one after; with sequence parallelism over positions too.
import type { Layers, ModelConfig } from '#runtime/model/main.ts';
import { addBias, embedding, empty, linear, linears, stored } from '#runtime/tensor/main.ts';
import type { Communicator, Stream, Tensor } from '#runtime/tensor/main.ts';
import { vocabularySpan } from '../sharding.ts';
import { groupExchange } from './group-exchange.ts';
import { groupLosses } from './group-losses.ts';

export interface TensorLayerOptions {
  readonly group: Communicator;
  /** The stream that computes; exchanges run there too, as what follows needs them. */
  readonly stream: Stream;
  readonly config: ModelConfig;
  /** Tokens of a sequence. */
  readonly length: number;
  /** Whether norms, residuals and dropout are cut over the positions of each sequence. */
  readonly isSequenceParallel: boolean;
}

/** Sums are made of eight spans, which the ranks of the group share. */
const spansOfAll = 8;

/** Shoeybi et al. 2019, section 3, and Korthikanti et al. 2022, section 4.2.2; every sum over the group is added in the tree of one rank's. */
export function tensorLayers(options: TensorLayerOptions): Layers & Disposable {
  const { group, config } = options;
  const spans = spansOfAll / group.size;
  const exchange = groupExchange(options);
  const { share } = exchange;
  const [firstRow] = vocabularySpan(config.vocabularySize, group.rank, group.size);
  const rows = { firstRow, tableRows: config.vocabularySize };
  const sumOverHeads = (gradient: Tensor) => {
    const sum = empty(gradient.device, gradient.shape, 'gradient over all heads');
    group.allReduce(options.stream, gradient, 'sum', 'gradient over heads', sum);
    return sum;
  };
  return {
    share,
    part: share === 1 ? 0 : group.rank,
    cut: { rank: group.rank, ranks: group.size },
    // With sequence parallelism the gradients of what all ranks hold are summed at the end.
    ...(share === 1 ? { sumOverHeads } : {}),
    columns: (x, layers, outputUnit) =>
      linears(exchange.enter(x), layers, { outputSpans: spans, ...(outputUnit === undefined ? {} : { outputUnit }) }),
    rows(x, { weight, bias }, unit) {
      const part = { spans, isPart: true, ...(unit === undefined ? {} : { unit }) };
      const sum = exchange.leave(linear(x, weight, undefined, part));
      return bias ? addBias(sum, bias, { share }) : stored(sum);
    },
    embed: (ids, table) => stored(exchange.leave(embedding(ids, table, rows))),
    losses: (hidden, head, targets, weight) => groupLosses(exchange.enter(hidden), head, targets, { ...options, rows, weight }),
    [Symbol.dispose]: () => exchange[Symbol.dispose](),
  };
}
