// Makes an engine of a model folder: weights packed for inference, tokenizer, and a cache of the right size.
import { randomBytes } from 'node:crypto';
import { freemem } from 'node:os';
import { WindlassError } from '#runtime/api/errors.ts';
import { dropPlainWeights, openModel, packModel, servedModelFrom, sharedModelFrom } from '#runtime/model/main.ts';
import type { Model, PackedCacheOptions } from '#runtime/model/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { ggufTokenizer, Tokenizer } from '#runtime/tokenizer/main.ts';
import { planCache } from './cache-size.ts';
import { Engine } from './engine.ts';
import type { EngineObserver } from './metrics.ts';
import { cacheTypeOf } from './cache-type.ts';
import { ModelRunner, cacheBytesPerToken } from './model-runner.ts';
import { vocabularyOf } from './vocabulary.ts';

/** Settings of an engine; the names of an InferenceService's `spec.engine`. */
interface EngineOptions {
  /** Default 16. */
  readonly maxSequences?: number | undefined;
  /** Default 512. */
  readonly maxBatchedTokens?: number | undefined;
  /** Default 16. */
  readonly blockSize?: number | undefined;
  /** Default: enough for maxSequences of full length, at most 1 GiB and a quarter of the free memory. */
  readonly cacheBytes?: number | undefined;
  /** What keys and values are kept as: f32 (default), f16, bf16 or q8_0. */
  readonly cacheType?: string | undefined;
  /** Default: the model's. */
  readonly contextLength?: number | undefined;
  /** See EngineLimits.speculativeTokens. Default 0. */
  readonly speculativeTokens?: number | undefined;
  /** Default 1024. */
  readonly maxWaiting?: number | undefined;
}

export interface EngineSetup {
  readonly device: Device;
  readonly options?: EngineOptions;
  readonly observer?: EngineObserver;
}

interface ModelSetup extends EngineSetup {
  readonly modelDir: string;
  /** Where processes share packed weights; absent: they are this one's own. */
  readonly packed?: PackedCacheOptions | undefined;
}

export interface LoadedEngine {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly model: Model;
  /** Ends all requests and frees model and cache; the device stays. */
  close(): Promise<void>;
}

/**
 * Loads `modelDir`: a Hugging Face folder, a GGUF file or a folder with one. Throws WL_FILE_MISSING, WL_MODEL_INVALID, WL_GGUF_INVALID,
 * WL_SAFETENSORS_INVALID, WL_TOKENIZER_INVALID, WL_TOKENIZER_MISMATCH, WL_MANIFEST_INVALID for options that don't fit the model,
 * WL_OUT_OF_MEMORY.
 */
export async function loadEngine(setup: ModelSetup): Promise<LoadedEngine> {
  const { tokenizer, model } = await readModel(setup);
  try {
    const engine = createEngine(model, tokenizer, setup);
    dropPlainWeights(model);
    return {
      engine,
      tokenizer,
      model,
      async close() {
        await engine.close();
        model.dispose();
      },
    };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function readModel({ modelDir: path, device, packed }: ModelSetup): Promise<{ tokenizer: Tokenizer; model: Model }> {
  const source = await openModel(path);
  try {
    // The device reads and packs weights while the tokenizer is made.
    const loading = packed ? sharedModelFrom(source, device, packed) : servedModelFrom(source, device);
    try {
      const tokenizer = source.vocabulary ? ggufTokenizer(source.vocabulary) : await Tokenizer.fromFolder(path);
      return { tokenizer, model: await loading };
    } catch (error) {
      await loading.then(
        (model) => model.dispose(),
        () => {},
      );
      throw error;
    }
  } finally {
    await source.close();
  }
}

/** An engine over a model in memory, whose weights it packs: they must not change any more. The model stays the caller's. */
export function createEngine(
  model: Model,
  tokenizer: Tokenizer,
  { options = {}, observer }: Omit<EngineSetup, 'device'>,
): Engine {
  const { config } = model;
  if (tokenizer.vocabularySize > config.vocabularySize) {
    throw new WindlassError(
      'WL_TOKENIZER_MISMATCH',
      `the tokenizer has ${tokenizer.vocabularySize} tokens, the model embeddings for ${config.vocabularySize}`,
    );
  }
  const { maxSequences = 16, maxBatchedTokens = 512, blockSize = 16, maxWaiting = 1024 } = options;
  const { speculativeTokens = 0 } = options;
  const { contextLength = config.contextLength, cacheBytes } = options;
  const cacheType = cacheTypeOf(options.cacheType);
  if (contextLength > config.contextLength) {
    throw new WindlassError(
      'WL_MANIFEST_INVALID',
      `spec.engine.contextLength: ${contextLength}; the model takes at most ${config.contextLength}`,
    );
  }
  const blocks = planCache({
    cacheBytes,
    bytesPerToken: cacheBytesPerToken(model, cacheType),
    blockSize,
    contextLength,
    maxSequences,
    freeBytes: freemem(),
  });
  packModel(model);
  return new Engine({
    runner: new ModelRunner(model, { blocks, blockSize, cacheType }),
    vocabulary: vocabularyOf(tokenizer, config),
    limits: { contextLength, maxSequences, maxBatchedTokens, maxWaiting, prefixCache: true, speculativeTokens },
    ...(observer ? { observer } : {}),
    now: () => performance.now() / 1000,
    randomSeed: () => randomBytes(8).readBigUInt64LE(),
    hashSeed: randomBytes(32).toString('hex'),
  });
}
