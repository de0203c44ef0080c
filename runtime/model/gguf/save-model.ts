// A model as a GGUF file that llama.cpp loads.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '../config.ts';
import { writeGguf } from './writer.ts';
import type { GgufTensor, GgufType, GgufValue } from './writer.ts';
import { ggufTokenizer } from './tokenizer-entries.ts';
import { concatenate } from '../layout.ts';
import { ggufLayout, turnRows } from './layout.ts';
import type { WeightSource } from '../weight-source.ts';

export interface GgufOptions {
  /** Type of the matrices; norms, biases and positions stay f32. */
  readonly type: GgufType;
  readonly name: string;
  /** Parsed tokenizer.json. */
  readonly tokenizer: unknown;
  /** Jinja text that turns messages into a prompt. */
  readonly chatTemplate?: string | undefined;
}

/** Writes `file`, tensor by tensor. Throws WL_MODEL_INVALID, WL_TOKENIZER_INVALID, WL_TOKENIZER_MISMATCH, WL_DISK_FULL, WL_IO. */
export async function saveGguf(source: WeightSource, file: string, options: GgufOptions): Promise<void> {
  const { config } = source;
  if (config.mlp.kind === 'dense' && config.mlp.activation !== 'gelu-tanh') {
    throw new WindlassError(
      'WL_MODEL_INVALID',
      `llama.cpp has no ${config.mlp.activation} for ${config.family}; export a Hugging Face folder instead`,
    );
  }
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: config.family }],
    ['general.name', { type: 'string', value: options.name }],
    ['general.file_type', { type: 'u32', value: options.type === 'f32' ? 0 : 1 }],
    ...architecture(config),
    ...ggufTokenizer(options.tokenizer, config, 'tokenizer.json'),
    ...chatTemplateEntry(options.chatTemplate),
  ]);
  await writeGguf(file, metadata, ggufTensors(source, options.type));
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
function ggufTensors(source: WeightSource, type: GgufType): GgufTensor[] {
  const { config } = source;
  return ggufLayout(config, config.positions.kind === 'rope').map(({ name, shape, parameters, turnedHeads, isMatrix }) => ({
    name,
    shape,
    type: isMatrix ? type : 'f32',
    async values() {
      const parts: Float32Array[] = [];
      for (const parameter of parameters) parts.push(await source.read(parameter.name));
      const values = concatenate(parts);
      return turnedHeads === 0 ? values : turnRows(values, turnedHeads, config.headSize, false);
    },
  }));
}
