// The configuration of a model, from the metadata of a GGUF file.
import type { ModelConfig } from '../config.ts';
import { checkConfig, mostLayers } from '../families/check-config.ts';
import type { GgufFile } from './file.ts';
import { MetadataReader } from './metadata.ts';

const architectures = ['llama', 'qwen2', 'qwen3', 'gpt2'] as const;
type Architecture = (typeof architectures)[number];

export interface GgufModelConfig {
  readonly config: ModelConfig;
  /** Whether rows of queries and keys stand in llama.cpp's order (see `ggufLayout`). */
  readonly turned: boolean;
}

/** Throws WL_MODEL_INVALID naming the key that is missing, malformed or asks for something that is not supported. */
export function ggufModelConfig(file: GgufFile): GgufModelConfig {
  const read = new MetadataReader(file);
  const name = read.text('general.architecture');
  const architecture = architectures.find((known) => known === name);
  if (!architecture) throw read.fault('general.architecture', architectures.join(' or '));
  const own = (key: string) => `${architecture}.${key}`;
  const hiddenSize = read.size(own('embedding_length'));
  const heads = read.size(own('attention.head_count'));
  const headSize = read.size(own('attention.key_length'), hiddenSize / heads);
  read.refuse(own('attention.value_length'), [headSize]);
  const tokens = file.tensors.get('token_embd.weight');
  const config: ModelConfig = checkConfig(
    {
      vocabularySize: read.size(own('vocab_size'), tokens?.shape[0]),
      contextLength: read.size(own('context_length')),
      hiddenSize,
      layers: read.size(own('block_count'), undefined, mostLayers),
      heads,
      kvHeads: read.size(own('attention.head_count_kv'), heads),
      headSize,
      intermediateSize: read.size(own('feed_forward_length')),
      ...(architecture === 'gpt2' ? gpt2Switches(read) : llamaSwitches(read, file, architecture, headSize)),
      tieEmbeddings: !file.tensors.has('output.weight'),
      dropout: 0,
      initializerRange: 0.02,
      ...endsOfText(read),
    },
    file.path,
  );
  return { config, turned: architecture === 'llama' };
}

type Switches = Pick<ModelConfig, 'family' | 'norm' | 'positions' | 'mlp' | 'bias'>;

function gpt2Switches(read: MetadataReader): Switches {
  return {
    family: 'gpt2',
    norm: { kind: 'layernorm', epsilon: read.number('gpt2.attention.layer_norm_epsilon') },
    positions: { kind: 'learned' },
    mlp: { kind: 'dense', activation: 'gelu-tanh' },
    bias: { qkv: true, output: true, mlp: true },
  };
}

function llamaSwitches(
  read: MetadataReader,
  { tensors }: Pick<GgufFile, 'tensors'>,
  architecture: Exclude<Architecture, 'gpt2'>,
  headSize: number,
): Switches {
  const own = (key: string) => `${architecture}.${key}`;
  read.refuse(own('rope.scaling.type'), ['none']);
  read.refuse(own('rope.scale_linear'), [1]);
  read.refuse(own('rope.dimension_count'), [headSize]);
  read.refuse(own('expert_count'), [0]);
  read.refuse(own('attention.sliding_window'), [0]);
  read.refuse(own('attention.clamp_kqv'), [0]);
  const has = (part: string) => tensors.has(`blk.0.${part}.bias`);
  return {
    family: architecture,
    norm: {
      kind: 'rmsnorm',
      epsilon: read.number(own('attention.layer_norm_rms_epsilon')),
      ...(architecture === 'qwen3' ? { queriesAndKeys: true } : {}),
    },
    positions: { kind: 'rope', theta: read.number(own('rope.freq_base'), 10_000, 1) },
    mlp: { kind: 'gated' },
    bias: { qkv: has('attn_q'), output: has('attn_output'), mlp: has('ffn_up') },
  };
}

function endsOfText(read: MetadataReader): Pick<ModelConfig, 'bosTokenId' | 'eosTokenIds'> {
  const id = (name: string) => read.tokenId(`tokenizer.ggml.${name}_token_id`);
  const bosTokenId = id('bos');
  const ends = [id('eos'), id('eot'), id('eom')].filter((end) => end !== undefined);
  return { ...(bosTokenId === undefined ? {} : { bosTokenId }), eosTokenIds: [...new Set(ends)] };
}
