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
  rmsNorm,
  rope,
  scope,
  siluGate,
} from '#runtime/tensor/main.ts';
import type { AddedNorm, Tensor } from '#runtime/tensor/main.ts';
import type { KeyValueSource } from './key-values.ts';
import { wholeLayers } from './layers.ts';
import type { Layers } from './layers.ts';
import type { BlockWeights, LinearWeights, Model } from './model.ts';

/** What the backward pass computes again instead of keeping: nothing, whole blocks, or one half of each. The same bits. */
export type Recompute = 'none' | 'block' | 'attention' | 'mlp';

export interface ForwardOptions {
  /**
   * Present while training: keys of the random numbers; `firstToken` is the index of the first row among the step's tokens, in sequences of
   * `length`.
   */
  readonly dropout?: { readonly seed: number; readonly step: number; readonly firstToken: number; readonly length: number };
  readonly recompute?: Recompute | ((layer: number) => Recompute);
  /** How layers that ranks may share are computed; by one device if absent. */
  readonly layers?: Layers;
}

/** What goes from block to block: its value is base + branch; the norm that reads it next adds them up. */
export type ResidualStream = { readonly base: Tensor; readonly branch?: Tensor };

/** Hidden states after the final norm. ids i32 [M], one token per row -> [M, D]. */
export function hiddenStates(model: Model, ids: Tensor, kv: KeyValueSource, options: ForwardOptions = {}): Tensor {
  return scope(() => {
    const pass = new ForwardPass(model, ids, kv, options);
    let stream = pass.embed();
    for (let layer = 0; layer < model.config.layers; layer += 1) stream = pass.block(layer, stream);
    return pass.finish(stream);
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

/** One forward pass in the pieces that ranks may divide among them. Rows of ids [M]; tensors belong to the scope around each call. */
export class ForwardPass {
  readonly #model: Model;
  readonly #ids: Tensor;
  readonly #kv: KeyValueSource;
  readonly #options: ForwardOptions;
  readonly #layers: Layers;
  readonly #positions: Tensor;

  constructor(model: Model, ids: Tensor, kv: KeyValueSource, options: ForwardOptions) {
    this.#model = model;
    this.#ids = ids;
    this.#kv = kv;
    this.#options = options;
    this.#layers = options.layers ?? wholeLayers;
    this.#positions = kv.positionsOf(ids);
  }

  embed(): ResidualStream {
    const { weights } = this.#model;
    const tokens = this.#layers.embed(this.#ids, weights.tokens);
    if (!weights.positions) return { base: this.#drop(tokens, 0) };
    const { share } = this.#layers;
    const positions = share === 1 ? this.#positions : this.#kv.positionsOf(this.#ids, this.#layers);
    return { base: this.#drop(add(tokens, embedding(positions, weights.positions, { share })), 0) };
  }

  /** One pre-norm block: attention, then MLP, each added to the stream. */
  block(layer: number, stream: ResidualStream): Required<ResidualStream> {
    const { recompute = 'none' } = this.#options;
    const again = typeof recompute === 'string' ? recompute : recompute(layer);
    const weights = this.#model.weights.blocks[layer];
    if (!weights) throw new Error(`internal: no block ${layer}`);
    const kept = [stream.base, stream.branch, this.#positions].filter((input) => input !== undefined);
    const attend = () => this.#attend(layer, weights, stream);
    const whole = () => {
      const [sum, normed] = again === 'attention' ? checkpoint(attend, kept) : attend();
      const think = () => [this.#think(layer, weights, normed)] as const;
      const [branch] = again === 'mlp' ? checkpoint(think, [normed]) : think();
      return [sum, branch] as const;
    };
    const [base, branch] = again === 'block' ? checkpoint(whole, kept) : scope(whole);
    return { base, branch };
  }

  /** Hidden states after the final norm, [M / share, D]. */
  finish(stream: ResidualStream): Tensor {
    return this.#norm(stream, this.#model.weights.finalNorm).normed;
  }

  /** Losses of all tokens, [M]; the tape starts its backward pass there. */
  losses(hidden: Tensor, targets: Tensor, weight: number): Tensor {
    return this.#layers.losses(hidden, this.#model.weights.head, targets, weight);
  }

  /** The stream with attention added, and its norm. */
  #attend(layer: number, weights: BlockWeights, stream: ResidualStream): readonly [sum: Tensor, normed: Tensor] {
    const before = this.#norm(stream, weights.attentionNorm);
    const attended = this.#drop(this.#attention(before.normed, layer, weights.attention), 2 * layer + 1);
    const between = this.#norm({ base: before.sum, branch: attended }, weights.mlpNorm);
    return [between.sum, between.normed];
  }

  #think(layer: number, weights: BlockWeights, normed: Tensor): Tensor {
    return this.#drop(this.#mlp(normed, weights.mlp), 2 * layer + 2);
  }

  #attention(x: Tensor, layer: number, weights: BlockWeights['attention']): Tensor {
    const { rope: table, config } = this.#model;
    const { headSize } = config;
    const [q, k, v] = this.#layers.columns(x, [weights.query, weights.key, weights.value], headSize) as [Tensor, Tensor, Tensor];
    const place = (x: Tensor) => (table ? rope(x, this.#positions, table) : x);
    const options = { heads: q.columns / headSize, kvHeads: k.columns / headSize, scale: 1 / Math.sqrt(headSize) };
    const attended = this.#kv.attend(layer, place(q), place(k), v, options);
    return this.#layers.rows(attended, weights.output, headSize);
  }

  #mlp(x: Tensor, weights: BlockWeights['mlp']): Tensor {
    return this.#layers.rows(this.#inner(x, weights), weights.down);
  }

  #inner(x: Tensor, { gate, up }: BlockWeights['mlp']): Tensor {
    if (gate) {
      const [gated, upper] = this.#layers.columns(x, [gate, up]) as [Tensor, Tensor];
      return siluGate(gated, upper);
    }
    const { mlp } = this.#model.config;
    const [upper] = this.#layers.columns(x, [up]) as [Tensor];
    return gelu(upper, mlp.kind === 'dense' && mlp.activation === 'gelu-erf' ? 'erf' : 'tanh');
  }

  #norm({ base, branch }: ResidualStream, { weight, bias }: LinearWeights): AddedNorm {
    const { kind, epsilon } = this.#model.config.norm;
    const { share } = this.#layers;
    if (branch)
      return kind === 'rmsnorm'
        ? addRmsNorm(branch, base, weight, epsilon, { share })
        : addLayerNorm(branch, base, weight, bias, epsilon, { share });
    const normed =
      kind === 'rmsnorm' ? rmsNorm(base, weight, epsilon, { share }) : layerNorm(base, weight, bias, epsilon, { share });
    return { sum: base, normed };
  }

  #drop(x: Tensor, site: number): Tensor {
    const { dropout: keys } = this.#options;
    if (!keys) return x;
    const run = keys.length / this.#layers.share;
    const firstToken = keys.firstToken + this.#layers.part * run;
    return dropout(x, { ...keys, probability: this.#model.config.dropout, site, firstToken, runs: { run, stride: keys.length } });
  }
}
