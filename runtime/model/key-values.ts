// Where attention finds keys and values: the rows of the batch itself, or the pages of a cache. The only difference between training and serving.
import { causalAttention, pagedAttention, tensor, writePages } from '#runtime/tensor/main.ts';
import type { AttentionOptions, PagedCache, Tensor } from '#runtime/tensor/main.ts';

export interface KeyValueSource {
  /**
   * Position of each row of `ids` in its sequence, i32 [M]; of the rows of one share of each sequence alone, where it is given. `offset` is added to
   * each.
   */
  positionsOf(ids: Tensor, of?: { readonly share?: number; readonly part?: number; readonly offset?: number }): Tensor;
  /** Attention of one layer. q [M, heads * headSize], k and v [M, kvHeads * headSize], positions already applied -> as q. */
  attend(layer: number, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor;
}

/** Whole sequences of `length` rows each, one after the other. Differentiable. */
export function contiguous({ length }: { readonly length: number }): KeyValueSource {
  return {
    positionsOf(ids, { share = 1, part = 0, offset = 0 } = {}) {
      const [rows, run] = [ids.size / share, length / share];
      const positions = Int32Array.from({ length: rows }, (_, row) => offset + part * run + (row % run));
      return tensor(ids.device, positions, [rows], 'positions');
    },
    attend: (_layer, q, k, v, options) => causalAttention(q, k, v, { ...options, length }),
  };
}

export interface PagedStep {
  /** One cache per layer. */
  readonly caches: readonly PagedCache[];
  /** [M]: position of each row in its sequence. */
  readonly positions: Int32Array;
  /** i32 [M]: where each row's key and value go: page * page size + offset; negative: nowhere. */
  readonly slots: Tensor;
  /** i32 [B, W]: the pages of each sequence, in order. */
  readonly pages: Tensor;
  /** i32 [B, 3]: first row, number of rows, position of the first row. */
  readonly sequences: Tensor;
}

/** Rows of several sequences at any position: writes their keys and values to the cache, then attends over its pages. */
export function paged(step: PagedStep): KeyValueSource {
  return {
    positionsOf(ids, { offset = 0 } = {}) {
      const positions = offset === 0 ? step.positions : step.positions.map((position) => position + offset);
      return tensor(ids.device, positions, [positions.length], 'positions');
    },
    attend(layer, q, k, v, options) {
      const cache = step.caches[layer];
      if (!cache) throw new Error(`internal: no cache for layer ${layer}`);
      writePages(cache, k, v, step.slots, options.kvHeads);
      return pagedAttention(q, cache, step.pages, step.sequences, options);
    },
  };
}
