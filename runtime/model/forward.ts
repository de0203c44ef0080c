// The forward pass: embeddings, decoder blocks, final norm. Single-device code; training and serving differ in the KeyValueSource only.
import {
  add,
  addLayerNorm,
  addRmsNorm,
  checkpoint,
  combine,
  dispatch,
  dropout,
  embedding,
  expertLinears,
  gelu,
  geluGate,
  layerNorm,
  linear,
  relu,
  rmsNorm,
  rmsNormHeads,
  rope,
  route,
  scaled,
  scope,
  siluGate,
  stored,
  widened,
  withPrecision,
} from '#runtime/tensor/main.ts';
import type { AddedNorm, Parameter, Tensor } from '#runtime/tensor/main.ts';
import type { KeyValueSource } from './key-values.ts';
import { wholeLayers } from './layers.ts';
import type { Layers } from './layers.ts';
import type { BlockWeights, LinearWeights, MixtureWeights, MlpWeights, Model } from './model.ts';

/** What the backward pass computes again instead of keeping: nothing, whole blocks, or one half of each. The same bits. */
export type Recompute = 'none' | 'block' | 'attention' | 'mlp';

export interface ForwardOptions {
  /**
   * Present while training: keys of the random numbers; `firstToken` is the index of the first row among the step's tokens, in sequences of
   * `length`.
   */
  readonly dropout?: { readonly seed: number; readonly step: number; readonly firstToken: number; readonly length: number };
  readonly recompute?: Recompute | ((layer: number) => Recompute);
  /** Weight of a token in the mean loss, by which the losses of routers count; without it they don't. */
  readonly tokenWeight?: number;
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
    const { weights, config } = this.#model;
    const { embeddingScale, embeddingDropout = config.dropout } = config;
    const plain = this.#layers.embed(this.#ids, weights.tokens);
    const tokens = embeddingScale === undefined ? plain : scaled(plain, embeddingScale);
    const placed = weights.positions ? add(tokens, this.#positionEmbedding(weights.positions)) : tokens;
    const base = weights.embeddingNorm ? this.#norm({ base: placed }, weights.embeddingNorm).normed : placed;
    return { base: this.#drop(base, 0, embeddingDropout) };
  }

  #positionEmbedding(table: Parameter): Tensor {
    const { positions } = this.#model.config;
    const { share, part } = this.#layers;
    const offset = positions.kind === 'learned' ? (positions.offset ?? 0) : 0;
    const isWhole = share === 1 && offset === 0;
    const rows = isWhole ? this.#positions : this.#kv.positionsOf(this.#ids, { share, part, offset });
    return embedding(rows, table, { share });
  }

  /** One block: attention, then MLP, each added to the stream, with norms before, after or around them. */
  block(layer: number, stream: ResidualStream): ResidualStream {
    const { recompute = 'none' } = this.#options;
    const again = typeof recompute === 'string' ? recompute : recompute(layer);
    const weights = this.#model.weights.blocks[layer];
    if (!weights) throw new Error(`internal: no block ${layer}`);
    const kept = [stream.base, stream.branch, this.#positions].filter((input) => input !== undefined);
    const attend = () => this.#attend(layer, weights, stream);
    const isPost = this.#model.config.norm.placement === 'post';
    const whole = (): readonly [Tensor, Tensor?] => {
      const [sum, normed] = again === 'attention' ? checkpoint(attend, kept) : attend();
      const think = () => [this.#think(layer, weights, normed)] as const;
      const [branch] = again === 'mlp' ? checkpoint(think, [normed]) : think();
      return isPost ? [this.#norm({ base: sum, branch }, weights.mlpNorm).normed] : [sum, branch];
    };
    const [base, branch] = again === 'block' ? checkpoint(whole as () => readonly Tensor[], kept) : scope(whole);
    if (!base) throw new Error(`internal: block ${layer} gave nothing`);
    return branch ? { base, branch } : { base };
  }

  /** Hidden states after the final norm, [M / share, D]. */
  finish(stream: ResidualStream): Tensor {
    const { finalNorm } = this.#model.weights;
    if (finalNorm) return this.#norm(stream, finalNorm).normed;
    return stream.branch ? add(stream.base, stream.branch) : stream.base;
  }

  /** Losses of all tokens, [M]; the tape starts its backward pass there. */
  losses(hidden: Tensor, targets: Tensor, weight: number): Tensor {
    return this.#layers.losses(hidden, this.#model.weights.head, targets, weight);
  }

  /** The stream with attention added, and what the MLP reads: its norm, or with norms after each part the same. */
  #attend(layer: number, weights: BlockWeights, stream: ResidualStream): readonly [sum: Tensor, normed: Tensor] {
    const isPost = this.#model.config.norm.placement === 'post';
    const before = isPost ? { sum: stream.base, normed: stream.base } : this.#norm(stream, weights.attentionNorm);
    const attention = this.#after(this.#attention(before.normed, layer, weights), weights.attentionAfterNorm);
    const attended = this.#drop(attention, 2 * layer + 1);
    const between = this.#norm({ base: before.sum, branch: attended }, isPost ? weights.attentionNorm : weights.mlpNorm);
    return [isPost ? between.normed : between.sum, between.normed];
  }

  #think(layer: number, { mlp, mixture, mlpAfterNorm }: BlockWeights, normed: Tensor): Tensor {
    const inner = mixture ? this.#mixture(normed, mixture) : this.#mlp(normed, mlp!);
    return this.#drop(this.#after(inner, mlpAfterNorm), 2 * layer + 2);
  }

  #after(x: Tensor, norm: LinearWeights | undefined): Tensor {
    return norm ? this.#norm({ base: x }, norm).normed : x;
  }

  #attention(x: Tensor, layer: number, { attention: weights, queryNorm, keyNorm }: BlockWeights): Tensor {
    const { config, slopes } = this.#model;
    const { headSize } = config;
    const [q, k, v] = this.#layers.columns(x, [weights.query, weights.key, weights.value], headSize) as [Tensor, Tensor, Tensor];
    const window = config.windows?.[layer] ?? 0;
    const table = window > 0 && this.#model.windowRope ? this.#model.windowRope : this.#model.rope;
    const place = (x: Tensor, norm: Parameter | undefined) => {
      const normed = norm ? this.#headNorm(x, norm) : x;
      return table ? rope(normed, this.#positions, table) : normed;
    };
    const scale = config.attentionScale ?? 1 / Math.sqrt(headSize);
    const heads = q.columns / headSize;
    const attended = this.#kv.attend(layer, place(q, queryNorm), place(k, keyNorm), v, {
      heads,
      kvHeads: k.columns / headSize,
      scale: config.scaleByLayer ? scale / (layer + 1) : scale,
      window,
      slopes: slopes && { of: slopes, firstHead: this.#layers.cut.rank * heads },
    });
    return this.#layers.rows(attended, weights.output, headSize);
  }

  #headNorm(x: Tensor, weight: Parameter): Tensor {
    const { epsilon, offset = 0 } = this.#model.config.norm;
    const { cut, sumOverHeads } = this.#layers;
    return rmsNormHeads(x, weight, { epsilon, offset, ranks: cut.ranks, sumOverHeads });
  }

  #mlp(x: Tensor, { gate, up, down }: MlpWeights): Tensor {
    const [upper, gated] = this.#layers.columns(x, gate ? [gate, up] : [up]).toReversed() as [Tensor, Tensor?];
    return this.#layers.rows(this.#activate(upper, gated), down);
  }

  #activate(upper: Tensor, gated: Tensor | undefined): Tensor {
    const { mlp } = this.#model.config;
    if (gated) return mlp.activation === 'gelu-tanh' ? geluGate(gated, upper) : siluGate(gated, upper);
    if (mlp.activation === 'relu') return relu(upper);
    return gelu(upper, mlp.activation === 'gelu-erf' ? 'erf' : 'tanh');
  }

  /** Each token through the experts that its router prefers (Jiang et al. 2024, section 2.1): in f32, whatever activations are stored in. */
  #mixture(x: Tensor, weights: MixtureWeights): Tensor {
    return stored(withPrecision('f32', () => this.#experts(widened(x), weights)));
  }

  #experts(x: Tensor, { router, experts }: MixtureWeights): Tensor {
    const { perToken, balance, z } = this.#model.config.mixture!;
    const [rows = 0] = x.shape;
    const share = rows * (this.#options.tokenWeight ?? 0);
    const routing = route(linear(x, router.weight), { perToken, balance: balance * share, z: z * share });
    const inputs = dispatch(x, routing);
    const layers = experts.map(({ gate, up }) => (gate ? [gate.weight, up.weight] : [up.weight]));
    const [upper, gated] = expertLinears(inputs, routing, layers).toReversed() as [Tensor, Tensor?];
    const downs = experts.map(({ down }) => [down.weight]);
    const [outputs] = expertLinears(this.#activate(upper, gated), routing, downs) as [Tensor];
    return combine(outputs, routing);
  }

  #norm({ base, branch }: ResidualStream, { weight, bias }: LinearWeights): AddedNorm {
    const { kind, epsilon, offset = 0 } = this.#model.config.norm;
    const { share } = this.#layers;
    if (branch)
      return kind === 'rmsnorm'
        ? addRmsNorm(branch, base, weight, epsilon, { share, offset })
        : addLayerNorm(branch, base, weight, bias, epsilon, { share });
    const normed =
      kind === 'rmsnorm' ? rmsNorm(base, weight, epsilon, { share, offset }) : layerNorm(base, weight, bias, epsilon, { share });
    return { sum: base, normed };
  }

  #drop(x: Tensor, site: number, probability = this.#model.config.dropout): Tensor {
    const { dropout: keys } = this.#options;
    if (!keys) return x;
    const run = keys.length / this.#layers.share;
    const firstToken = keys.firstToken + this.#layers.part * run;
    return dropout(x, { ...keys, probability, site, firstToken, runs: { run, stride: keys.length } });
  }
}
