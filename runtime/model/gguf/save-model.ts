// A model as a GGUF file that llama.cpp loads, in any of the types that are read here.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '../config.ts';
import { concatenate } from '../layout.ts';
import type { WeightSource } from '../weight-source.ts';
import { dequantize } from './dequantize.ts';
import { ggufLayout, turnRows } from './layout.ts';
import { recipeType, recipes } from './recipes.ts';
import type { RecipeName } from './recipes.ts';
import { ggufBytes, ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';
import { ggufTokenizer } from './tokenizer-entries.ts';
import { writeGguf } from './writer.ts';
import type { GgufTensor, GgufValue } from './writer.ts';

/** What a file says beside its weights. */
export interface GgufDescription {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Whether rows of queries and keys stand in llama.cpp's order (see `ggufLayout`). */
  readonly turned: boolean;
}

/** A tensor as it was written. */
export interface WrittenTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  readonly bytes: number;
  readonly values: number;
  /** Sums over all values. */
  readonly squares: number;
  readonly squaredError: number;
  /** Largest magnitude of an error. */
  readonly largestError: number;
}

/** Writes `file`, tensor by tensor. Throws WL_MODEL_INVALID where a type cannot hold the values, WL_DISK_FULL, WL_IO. */
export async function saveGguf(
  source: WeightSource,
  file: string,
  recipe: RecipeName,
  { metadata, turned }: GgufDescription,
  onTensor?: (written: WrittenTensor) => void,
): Promise<void> {
  const described = new Map<string, GgufValue>([
    ...metadata,
    ['general.file_type', { type: 'u32', value: recipes[recipe].fileType }],
    ...quantizationVersion(recipe),
  ]);
  await writeGguf(file, described, ggufTensors(source, recipe, turned, onTensor));
}

/** Of the blocks' layout: the one of ggml-common.h. */
function quantizationVersion(recipe: RecipeName): [string, GgufValue][] {
  const isQuantized = ggufTensorTypes[recipes[recipe].base].blockValues > 1;
  return isQuantized ? [['general.quantization_version', { type: 'u32', value: 2 }]] : [];
}

interface DescriptionOptions {
  readonly name: string;
  /** Parsed tokenizer.json. */
  readonly tokenizer: unknown;
  /** Jinja text that turns messages into a prompt. */
  readonly chatTemplate?: string | undefined;
}

const writtenFamilies: ReadonlySet<string> = new Set(['gpt2', 'llama', 'qwen2', 'qwen3']);

/** Describes a model of a folder. Throws WL_MODEL_INVALID, WL_TOKENIZER_INVALID, WL_TOKENIZER_MISMATCH for what GGUF cannot say. */
export function describeModel(config: ModelConfig, { name, tokenizer, chatTemplate }: DescriptionOptions): GgufDescription {
  const isStretched = config.positions.kind === 'rope' && config.positions.scaling !== undefined;
  const isKnown = writtenFamilies.has(config.family);
  if (!isKnown || isStretched || config.scaleByLayer || config.windows) {
    const what = isKnown
      ? `${config.family} with ${isStretched ? 'scaled rotary positions' : 'attention of its own'}`
      : config.family;
    throw new WindlassError('WL_MODEL_INVALID', `GGUF files of ${what} are not written; export a Hugging Face folder instead`);
  }
  if (config.mlp.kind === 'dense' && config.mlp.activation !== 'gelu-tanh') {
    throw new WindlassError(
      'WL_MODEL_INVALID',
      `llama.cpp has no ${config.mlp.activation} for ${config.family}; export a Hugging Face folder instead`,
    );
  }
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: config.family }],
    ['general.name', { type: 'string', value: name }],
    ...architecture(config),
    ...ggufTokenizer(tokenizer, config, 'tokenizer.json'),
    ...chatTemplateEntry(chatTemplate),
  ]);
  return { metadata, turned: config.family === 'llama' };
}

function chatTemplateEntry(template: string | undefined): [string, GgufValue][] {
  return template === undefined ? [] : [['tokenizer.chat_template', { type: 'string', value: template }]];
}

function architecture(config: ModelConfig): [string, GgufValue][] {
  const sizes: Record<string, number> = {
    block_count: config.layers,
    context_length: config.contextLength,
    embedding_length: config.hiddenSize,
    feed_forward_length: config.intermediateSize,
    vocab_size: config.vocabularySize,
    'attention.head_count': config.heads,
    'attention.head_count_kv': config.kvHeads,
    'attention.key_length': config.headSize,
    'attention.value_length': config.headSize,
    ...(config.positions.kind === 'rope' ? { 'rope.dimension_count': config.headSize } : {}),
  };
  const epsilon = config.norm.kind === 'rmsnorm' ? 'attention.layer_norm_rms_epsilon' : 'attention.layer_norm_epsilon';
  return [
    ...Object.entries(sizes).map(([key, value]): [string, GgufValue] => [`${config.family}.${key}`, { type: 'u32', value }]),
    [`${config.family}.${epsilon}`, { type: 'f32', value: config.norm.epsilon }],
    ...(config.positions.kind === 'rope'
      ? ([[`${config.family}.rope.freq_base`, { type: 'f32', value: config.positions.theta }]] satisfies [string, GgufValue][])
      : []),
  ];
}

/** The tensors in the order of the parameters. */
function ggufTensors(
  source: WeightSource,
  recipe: RecipeName,
  turned: boolean,
  onTensor: ((written: WrittenTensor) => void) | undefined,
): GgufTensor[] {
  const { config } = source;
  const surroundings = { layers: config.layers, isTied: config.tieEmbeddings };
  return ggufLayout(config, turned).map(({ name, shape, parameters, turnedHeads, isMatrix }) => {
    const type = isMatrix ? recipeType(recipe, name, shape.at(-1) ?? 0, surroundings) : 'F32';
    return {
      name,
      shape,
      type,
      async values() {
        const parts: Float32Array[] = [];
        for (const parameter of parameters) parts.push(await source.read(parameter.name));
        const values = concatenate(parts);
        return turnedHeads === 0 ? values : turnRows(values, turnedHeads, config.headSize, false);
      },
      ...(onTensor ? { onWritten: errorMeter(name, type, shape, onTensor) } : {}),
    };
  });
}

/** Adds up the errors of a tensor's values, and tells them after the last. */
function errorMeter(
  name: string,
  type: GgufTensorType,
  shape: readonly number[],
  onTensor: (written: WrittenTensor) => void,
): (values: Float32Array, bytes: Uint8Array) => void {
  const size = shape.reduce((product, dim) => product * dim, 1);
  let [seen, squaredError, squares, largestError] = [0, 0, 0, 0];
  return (values, bytes) => {
    const kept = new Float32Array(values.length);
    dequantize(type, bytes, kept);
    for (let at = 0; at < values.length; at += 1) {
      const value = values[at]!;
      const error = kept[at]! - value;
      squaredError += error * error;
      squares += value * value;
      largestError = Math.max(largestError, Math.abs(error));
    }
    seen += values.length;
    if (seen < size) return;
    onTensor({ name, type, bytes: ggufBytes(type, size), values: size, squares, squaredError, largestError });
  };
}
