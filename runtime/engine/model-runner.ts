// Runs the steps of the engine on a model, over a cache of keys and values in pages.
import type { Model } from '#runtime/model/main.ts';
import { cacheHeadBytes, emptyCache, keep, scope } from '#runtime/tensor/main.ts';
import type { CacheType, PagedCache } from '#runtime/tensor/main.ts';
import { ModelStep } from './model-step.ts';
import type { Runner, Step, Work } from './runner.ts';

export interface CacheShape {
  readonly blocks: number;
  /** Tokens per block. */
  readonly blockSize: number;
  /** Of keys and values; f32 if absent: what is generated is then what the trainer computes, bit for bit. */
  readonly cacheType?: CacheType | undefined;
}

/**
 * Owns the key-value cache of a model; the model stays the caller's. What a row computes depends on its tokens and positions alone: not
 * on the other rows of the step, on the cut into chunks, or on which blocks hold the keys.
 */
export class ModelRunner implements Runner {
  readonly blocks: number;
  readonly blockSize: number;
  readonly cacheType: CacheType;
  readonly blockBytes: number;
  readonly #model: Model;
  readonly #caches: readonly PagedCache[];

  /** Throws WL_OUT_OF_MEMORY. */
  constructor(model: Model, { blocks, blockSize, cacheType = 'f32' }: CacheShape) {
    const { layers, kvHeads, headSize } = model.config;
    const shape = { type: cacheType, pages: blocks, pageSize: blockSize, kvHeads, headSize };
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.cacheType = cacheType;
    this.blockBytes = blockSize * cacheBytesPerToken(model, cacheType);
    this.#model = model;
    this.#caches = keep(
      scope(() => Array.from({ length: layers }, (_, layer) => emptyCache(model.device, shape, `layer ${layer}`))),
    );
  }

  begin(work: readonly Work[]): Step {
    return new ModelStep(this.#model, this.#caches, this.blockSize, work);
  }

  close(): void {
    for (const { keys, values } of this.#caches) {
      keys.dispose();
      values.dispose();
    }
  }
}

/** Bytes that the cache of one token takes, over all layers. */
export function cacheBytesPerToken({ config }: Pick<Model, 'config'>, type: CacheType): number {
  const { layers, kvHeads, headSize } = config;
  return layers * 2 * kvHeads * cacheHeadBytes(type, headSize);
}
