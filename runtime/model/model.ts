// A model: its configuration and parameters on a device.
import { emptyParameter, fill, fillNormal, keep, packWeight, tensor } from '#runtime/tensor/main.ts';
import type { Device, Parameter, RopeTable, Tensor } from '#runtime/tensor/main.ts';
import { alibiSlopes } from './alibi.ts';
import type { ModelConfig, ParameterSpec, RopeScaling } from './config.ts';
import { parameterSpecs } from './parameters.ts';
import { ropeTable } from './rope-table.ts';

/** Parameters with the axis order of `parameterSpecs`. `dispose` frees all of them, with gradients and packed forms. */
export class Model {
  readonly config: ModelConfig;
  readonly device: Device;
  /** By name, in the order of `parameterSpecs`. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly weights: ModelWeights;
  /** Present where positions are rotary. */
  readonly rope: RopeTable | undefined;
  /** For layers with a window, where their angles are others. */
  readonly windowRope: RopeTable | undefined;
  /** [heads], where attention has linear biases. */
  readonly slopes: Tensor | undefined;

  /**
   * `make` gives each parameter its memory, all of it on `device` if absent. A tied head is the token table itself unless `tiedHead` stands
   * for it: while training it has a gradient of its own.
   */
  constructor(config: ModelConfig, device: Device, make?: (spec: ParameterSpec) => Parameter, tiedHead?: Parameter) {
    this.config = config;
    this.device = device;
    const whole = ({ name, shape }: ParameterSpec) => emptyParameter(device, shape, name);
    this.parameters = new Map(parameterSpecs(config).map((spec) => [spec.name, (make ?? whole)(spec)]));
    this.weights = arrange(config, this.parameters, tiedHead);
    const { positions } = config;
    this.rope = positions.kind === 'rope' ? uploadRope(config, positions, device) : undefined;
    this.windowRope =
      positions.kind === 'rope' && positions.windowTheta !== undefined
        ? uploadRope(config, { theta: positions.windowTheta }, device)
        : undefined;
    this.slopes =
      positions.kind === 'alibi'
        ? keep({ slopes: tensor(device, alibiSlopes(config.heads), [config.heads], 'slopes') }).slopes
        : undefined;
  }

  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose();
    for (const table of [this.rope, this.windowRope]) {
      table?.cos.dispose();
      table?.sin.dispose();
    }
    this.slopes?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A model with initial values drawn by (seed, index of the parameter); the same on every machine. */
export function createModel(config: ModelConfig, options: { readonly seed: number; readonly device: Device }): Model {
  const model = new Model(config, options.device);
  for (const [index, { name, init }] of parameterSpecs(config).entries()) {
    const parameter = named(model.parameters, name);
    if (init.kind === 'constant') fill(parameter, init.value);
    else fillNormal(parameter, { mean: 0, std: init.std, seed: options.seed, stream: index });
  }
  return model;
}

/** Packs the weights of all linear layers and the head for inference; each stays packed until its values change. Quantised ones are. */
export function packModel(model: Model): void {
  for (const weight of multipliedWeights(model)) if (!weight.quantized && !weight.packed) packWeight(weight);
}

/** Frees the plain form of packed weights, which halves the memory of a model that only serves. It can't be trained or saved any more. */
export function dropPlainWeights(model: Model): void {
  for (const weight of multipliedWeights(model)) if (weight !== model.weights.tokens) weight.dropPlain();
}

function multipliedWeights({ weights }: Model): Parameter[] {
  const layers = weights.blocks.flatMap(({ attention, mlp, mixture }) => [
    ...Object.values(attention),
    mixture?.router,
    ...[mlp, ...(mixture?.experts ?? [])].flatMap((each) => [each?.gate, each?.up, each?.down]),
  ]);
  return [...layers.flatMap((layer) => (layer ? [layer.weight] : [])), weights.head];
}

export interface LinearWeights {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
}

export interface MlpWeights {
  readonly gate: LinearWeights | undefined;
  readonly up: LinearWeights;
  readonly down: LinearWeights;
}

export interface MixtureWeights {
  readonly router: LinearWeights;
  readonly experts: readonly MlpWeights[];
}

export interface BlockWeights {
  readonly attentionNorm: LinearWeights;
  readonly attention: {
    readonly query: LinearWeights;
    readonly key: LinearWeights;
    readonly value: LinearWeights;
    readonly output: LinearWeights;
  };
  /** Of each head, where heads are normalised. */
  readonly queryNorm: Parameter | undefined;
  readonly keyNorm: Parameter | undefined;
  /** Of what attention adds to the stream, where that is normalised. */
  readonly attentionAfterNorm: LinearWeights | undefined;
  readonly mlpNorm: LinearWeights;
  /** One of the two. */
  readonly mlp: MlpWeights | undefined;
  readonly mixture: MixtureWeights | undefined;
  readonly mlpAfterNorm: LinearWeights | undefined;
}

/** The parameters as the forward pass reads them. */
export interface ModelWeights {
  readonly tokens: Parameter;
  readonly positions: Parameter | undefined;
  readonly embeddingNorm: LinearWeights | undefined;
  readonly blocks: readonly BlockWeights[];
  readonly finalNorm: LinearWeights | undefined;
  /** The token embedding where it is tied. */
  readonly head: Parameter;
}

function arrange(config: ModelConfig, parameters: ReadonlyMap<string, Parameter>, tiedHead?: Parameter): ModelWeights {
  const pair = (name: string): LinearWeights => ({
    weight: named(parameters, `${name}.weight`),
    bias: parameters.get(`${name}.bias`),
  });
  const norm = (name: string) => (parameters.has(`${name}.weight`) ? pair(name) : undefined);
  const mlp = (name: string): MlpWeights => ({
    gate: config.mlp.kind === 'gated' ? pair(`${name}.gate`) : undefined,
    up: pair(`${name}.up`),
    down: pair(`${name}.down`),
  });
  const { mixture } = config;
  const tokens = named(parameters, 'embedding.tokens');
  return {
    tokens,
    positions: parameters.get('embedding.positions'),
    embeddingNorm: norm('embedding.norm'),
    blocks: Array.from({ length: config.layers }, (_, layer) => {
      const prefix = `blocks.${layer}`;
      const attention = `${prefix}.attention`;
      return {
        attentionNorm: pair(`${prefix}.attentionNorm`),
        attention: {
          query: pair(`${attention}.query`),
          key: pair(`${attention}.key`),
          value: pair(`${attention}.value`),
          output: pair(`${attention}.output`),
        },
        queryNorm: parameters.get(`${attention}.queryNorm.weight`),
        keyNorm: parameters.get(`${attention}.keyNorm.weight`),
        attentionAfterNorm: norm(`${prefix}.attentionAfterNorm`),
        mlpNorm: pair(`${prefix}.mlpNorm`),
        mlp: mixture ? undefined : mlp(`${prefix}.mlp`),
        mixture: mixture && {
          router: pair(`${prefix}.mlp.router`),
          experts: Array.from({ length: mixture.experts }, (_, expert) => mlp(`${prefix}.mlp.experts.${expert}`)),
        },
        mlpAfterNorm: norm(`${prefix}.mlpAfterNorm`),
      };
    }),
    finalNorm: norm('finalNorm'),
    head: config.tieEmbeddings ? (tiedHead ?? tokens) : named(parameters, 'head'),
  };
}

function named(parameters: ReadonlyMap<string, Parameter>, name: string): Parameter {
  const parameter = parameters.get(name);
  if (!parameter) throw new Error(`internal: no parameter ${name}`);
  return parameter;
}

function uploadRope(
  config: ModelConfig,
  { theta, scaling }: { readonly theta: number; readonly scaling?: RopeScaling },
  device: Device,
): RopeTable {
  const table = ropeTable(config.contextLength, config.headSize, theta, scaling);
  const shape = [config.contextLength, config.headSize / 2];
  return keep({ cos: tensor(device, table.cos, shape, 'rope cos'), sin: tensor(device, table.sin, shape, 'rope sin') });
}
