// The pages that inference keeps keys and values in: their types, what they take, and attention over them.
import type { AttentionOptions } from './attention.ts';
import { empty, emptyBytes } from './create.ts';
import { ops } from './device.ts';
import type { Device } from './device.ts';
import type { Tensor } from './tensor.ts';

/** Types of keys and values in a cache, with the numbers that the kernels know them by (core/cache-types.h). */
const numbers = { f32: 0, f16: 1, bf16: 30, q8_0: 8 } as const;

export type CacheType = keyof typeof numbers;
export const cacheTypes = Object.keys(numbers) as readonly CacheType[];

/** Elements of a block of q8_0, and its bytes: a half and a signed byte for each element. */
const block = { elements: 32, bytes: 34 };

/** Bytes that one head of keys, or of values, takes of one token: in q8_0 whole blocks, the last one filled up. */
export function cacheHeadBytes(type: CacheType, headSize: number): number {
  if (type === 'q8_0') return Math.ceil(headSize / block.elements) * block.bytes;
  return headSize * (type === 'f32' ? 4 : 2);
}

export interface PagedCacheShape {
  readonly type: CacheType;
  readonly pages: number;
  /** Tokens of a page. */
  readonly pageSize: number;
  readonly kvHeads: number;
  readonly headSize: number;
}

/** The pages of one layer's cache, u8 [pages, page size, bytes of a token's heads] each; core/cache-types.h has the order within a page. */
export interface PagedCache {
  readonly type: CacheType;
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Pages with undefined contents, under the current scope. Throws WL_OUT_OF_MEMORY. */
export function emptyCache(
  device: Device,
  { type, pages, pageSize, kvHeads, headSize }: PagedCacheShape,
  label: string,
): PagedCache {
  const shape = [pages, pageSize, kvHeads * cacheHeadBytes(type, headSize)];
  return { type, keys: emptyBytes(device, shape, `keys of ${label}`), values: emptyBytes(device, shape, `values of ${label}`) };
}

/**
 * Writes k and v of each row, [M, kvHeads * headSize], to its slot (page * page size + offset), rounded to the type of the cache; rows with a
 * negative slot are skipped. Not differentiable.
 */
export function writePages({ type, keys, values }: PagedCache, k: Tensor, v: Tensor, slots: Tensor, kvHeads: number): void {
  ops.kv_write(k.device.stream, k.handle, v.handle, slots.handle, keys.handle, values.handle, numbers[type], kvHeads);
}

/**
 * Causal attention of q over pages; the bits are those of `causalAttention` over the values that the pages hold. Not differentiable.
 *
 * @param pages i32 [B, W]: the pages of each sequence, in order.
 * @param sequences i32 [B, 3]: first row in q, number of rows, position of the first row.
 */
export function pagedAttention(
  q: Tensor,
  cache: PagedCache,
  pages: Tensor,
  sequences: Tensor,
  options: AttentionOptions,
): Tensor {
  const out = empty(q.device, q.shape, 'paged attention');
  const { heads, kvHeads, scale, window = 0, slopes } = options;
  ops.attention_paged(
    q.device.stream,
    q.handle,
    cache.keys.handle,
    cache.values.handle,
    pages.handle,
    sequences.handle,
    slopes?.of.handle ?? null,
    out.handle,
    numbers[cache.type],
    heads,
    kvHeads,
    scale,
    window,
    slopes?.firstHead ?? 0,
  );
  return out;
}
