// A model as a GGUF file that llama.cpp loads.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from './config.ts';
import { writeGguf } from './gguf.ts';
import type { GgufTensor, GgufType, GgufValue } from './gguf.ts';
import { ggufTokenizer } from './gguf-tokenizer.ts';
import { concatenate } from './layout.ts';
import { parameterSpecs } from './parameters.ts';
import type { WeightSource } from './weight-source.ts';

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
  const isStretched = config.positions.kind === 'rope' && config.positions.scaling !== undefined;
  if ((config.family !== 'gpt2' && config.family !== 'llama') || isStretched || config.scaleByLayer) {
    const what = config.family === 'llama' ? 'llama with scaled rotary positions' : config.family;
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

const outside: Readonly<Record<string, string>> = {
  'embedding.tokens': 'token_embd.weight',
  'embedding.positions': 'position_embd.weight',
  'finalNorm.weight': 'output_norm.weight',
  'finalNorm.bias': 'output_norm.bias',
  head: 'output.weight',
};

const inBlock: Readonly<Record<string, string>> = {
  attentionNorm: 'attn_norm',
  'attention.query': 'attn_q',
  'attention.key': 'attn_k',
  'attention.value': 'attn_v',
  'attention.output': 'attn_output',
  mlpNorm: 'ffn_norm',
  'mlp.gate': 'ffn_gate',
  'mlp.up': 'ffn_up',
  'mlp.down': 'ffn_down',
};

/** The tensors in the order of the parameters, by their names in llama.cpp. A tied head is left out: the embedding stands in for it. */
function ggufTensors(source: WeightSource, type: GgufType): GgufTensor[] {
  const { config } = source;
  const tensors: GgufTensor[] = [];
  for (const { name, shape } of parameterSpecs(config)) {
    const isMatrix = shape.length > 1 && name !== 'embedding.positions';
    const part = /^blocks\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
    const [, layer, role = '', kind] = part ?? [];
    const tensor = { shape, type: isMatrix ? type : 'f32' } as const;
    if (!part) tensors.push({ ...tensor, name: outside[name] ?? name, values: () => source.read(name) });
    else if (config.family === 'gpt2' && /^attention\.(query|key|value)$/.test(role)) {
      if (role !== 'attention.query') continue;
      const names = ['query', 'key', 'value'].map((each) => `blocks.${layer}.attention.${each}.${kind}`);
      const [rows = 0, ...columns] = shape;
      tensors.push({
        ...tensor,
        name: `blk.${layer}.attn_qkv.${kind}`,
        shape: [3 * rows, ...columns],
        values: () => fused(source, names),
      });
    } else {
      const heads = role === 'attention.query' ? config.heads : role === 'attention.key' ? config.kvHeads : 0;
      const values = heads > 0 && config.positions.kind === 'rope' ? interleaved(source, name, heads) : () => source.read(name);
      tensors.push({ ...tensor, name: `blk.${layer}.${inBlock[role]}.${kind}`, values });
    }
  }
  return tensors;
}

async function fused(source: WeightSource, names: readonly string[]): Promise<Float32Array> {
  const parts: Float32Array[] = [];
  for (const name of names) parts.push(await source.read(name));
  return concatenate(parts);
}

/** llama.cpp turns neighbouring rows of a head together, we turn halves: row i and row i + half become rows 2i and 2i + 1. */
function interleaved(source: WeightSource, name: string, heads: number): () => Promise<Float32Array> {
  return async () => {
    const values = await source.read(name);
    const { headSize } = source.config;
    const columns = values.length / (heads * headSize);
    const permuted = new Float32Array(values.length);
    for (let row = 0; row < heads * headSize; row += 1) {
      const within = row % headSize;
      const from = row - within + (within % 2) * (headSize / 2) + Math.floor(within / 2);
      permuted.set(values.subarray(from * columns, (from + 1) * columns), row * columns);
    }
    return permuted;
  };
}
