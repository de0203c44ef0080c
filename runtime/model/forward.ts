// The forward pass: embeddings, decoder blocks, final norm. Single-device code; training and serving differ in the KeyValueSource only.
import {
  add,
  addLayerNorm,
  addRmsNorm,
  checkpoint,
  dropout,
  embedding,
  gelu,
  layerNorm,
  linear,
  linears,
  rmsNorm,
  rope,
  scope,
  siluGate,
} from '#runtime/tensor/main.ts';
import type { AddedNorm, Tensor } from '#runtime/tensor/main.ts';
import type { ModelConfig } from './config.ts';
import type { KeyValueSource } from './key-values.ts';
import type { BlockWeights, LinearWeights, Model } from './model.ts';

export interface ForwardOptions {
  /** Present while training: keys of the random numbers; `firstToken` is the index of the first row among the step's tokens. */
  readonly dropout?: { readonly seed: number; readonly step: number; readonly firstToken: number };
  /** `block`: keep only what enters each block and compute the rest again in the backward pass. The same bits. */
  readonly recompute?: 'none' | 'block';
}

/** Hidden states after the final norm. ids i32 [M], one token per row -> [M, D]. */
export function hiddenStates(model: Model, ids: Tensor, kv: KeyValueSource, options: ForwardOptions = {}): Tensor {
  return scope(() => {
    const { config, weights } = model;
    const positions = kv.positionsOf(ids);
    const drop = dropper(config, options);
    let stream: ResidualStream = { base: drop(embed(model, ids, positions), 0) };
    for (const [layer, block] of weights.blocks.entries()) {
      const entering = stream;
      const run = () => {
        const left = decoderBlock(model, layer, block, entering, positions, kv, drop);
        return [left.base, left.branch] as const;
      };
      const inputs = [entering.base, entering.branch, positions].filter((input) => input !== undefined);
      const [base, branch] = options.recompute === 'block' ? checkpoint(run, inputs) : scope(run);
      stream = { base, branch };
    }
    return norm(stream, weights.finalNorm, config).normed;
  });
}

/** The weight of the vocabulary projection, [V, D]: for `crossEntropy` while training, for `logits` while serving. */
export function headWeight(model: Model): Tensor {
  return model.weights.head;
}

/** Logits of hidden states [M, D] -> [M, V]. */
export function logits(model: Model, hidden: Tensor): Tensor {
  return linear(hidden, model.weights.head);
}

/** Between two blocks: its value is base + branch; the norm that reads it next adds them up. */
type ResidualStream = { readonly base: Tensor; readonly branch?: Tensor };

type Drop = (x: Tensor, site: number) => Tensor;

/** One pre-norm block: attention, then MLP, each added to the stream. */
function decoderBlock(
  model: Model,
  layer: number,
  weights: BlockWeights,
  stream: ResidualStream,
  positions: Tensor,
  kv: KeyValueSource,
  drop: Drop,
): Required<ResidualStream> {
  const { config } = model;
  const before = norm(stream, weights.attentionNorm, config);
  const attended = drop(attention(before.normed, model, layer, weights.attention, positions, kv), 2 * layer + 1);
  const between = norm({ base: before.sum, branch: attended }, weights.mlpNorm, config);
  return { base: between.sum, branch: drop(mlp(between.normed, weights.mlp, config), 2 * layer + 2) };
}

function attention(
  x: Tensor,
  model: Model,
  layer: number,
  weights: BlockWeights['attention'],
  positions: Tensor,
  kv: KeyValueSource,
): Tensor {
  const { headSize, heads, kvHeads } = model.config;
  const place = (x: Tensor) => (model.rope ? rope(x, positions, model.rope) : x);
  const [q, k, v] = linears(x, [weights.query, weights.key, weights.value], { outputUnit: headSize });
  const attended = kv.attend(layer, place(q), place(k), v, { heads, kvHeads, scale: 1 / Math.sqrt(headSize) });
  return linear(attended, weights.output.weight, weights.output.bias, { unit: headSize });
}

function mlp(x: Tensor, weights: BlockWeights['mlp'], config: ModelConfig): Tensor {
  const inner = weights.gate
    ? siluGate(...linears(x, [weights.gate, weights.up]))
    : gelu(
        linear(x, weights.up.weight, weights.up.bias),
        config.mlp.kind === 'dense' && config.mlp.activation === 'gelu-erf' ? 'erf' : 'tanh',
      );
  return linear(inner, weights.down.weight, weights.down.bias);
}

function norm({ base, branch }: ResidualStream, weights: LinearWeights, config: ModelConfig): AddedNorm {
  const { kind, epsilon } = config.norm;
  const { weight, bias } = weights;
  if (branch)
    return kind === 'rmsnorm' ? addRmsNorm(branch, base, weight, epsilon) : addLayerNorm(branch, base, weight, bias, epsilon);
  return { sum: base, normed: kind === 'rmsnorm' ? rmsNorm(base, weight, epsilon) : layerNorm(base, weight, bias, epsilon) };
}

function embed({ weights }: Model, ids: Tensor, positions: Tensor): Tensor {
  const tokens = embedding(ids, weights.tokens);
  return weights.positions ? add(tokens, embedding(positions, weights.positions)) : tokens;
}

function dropper(config: ModelConfig, options: ForwardOptions): Drop {
  const keys = options.dropout;
  return (x, site) => (keys ? dropout(x, { probability: config.dropout, site, ...keys }) : x);
}
