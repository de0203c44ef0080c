// A model: its configuration and parameters on a device.
import { emptyParameter, fill, fillNormal, keep, packWeight, tensor } from '#runtime/tensor/main.ts';
import type { Device, Parameter, RopeTable } from '#runtime/tensor/main.ts';
import type { ModelConfig, ParameterSpec } from './config.ts';
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
    this.rope = config.positions.kind === 'rope' ? uploadRope(config, config.positions.theta, device) : undefined;
  }

  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose();
    this.rope?.cos.dispose();
    this.rope?.sin.dispose();
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

/** Packs the weights of all linear layers and the head for inference; each stays packed until its values change. */
export function packModel(model: Model): void {
  for (const weight of multipliedWeights(model)) packWeight(weight);
}

/** Frees the plain form of packed weights, which halves the memory of a model that only serves. It can't be trained or saved any more. */
export function dropPlainWeights(model: Model): void {
  for (const weight of multipliedWeights(model)) if (weight !== model.weights.tokens) weight.dropPlain();
}

function multipliedWeights({ weights }: Model): Parameter[] {
  const layers = weights.blocks.flatMap(({ attention, mlp }) => [...Object.values(attention), mlp.gate, mlp.up, mlp.down]);
  return [...layers.flatMap((layer) => (layer ? [layer.weight] : [])), weights.head];
}

export interface LinearWeights {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
}

export interface BlockWeights {
  readonly attentionNorm: LinearWeights;
  readonly attention: {
    readonly query: LinearWeights;
    readonly key: LinearWeights;
    readonly value: LinearWeights;
    readonly output: LinearWeights;
  };
  readonly mlpNorm: LinearWeights;
  readonly mlp: { readonly gate: LinearWeights | undefined; readonly up: LinearWeights; readonly down: LinearWeights };
}

/** The parameters as the forward pass reads them. */
export interface ModelWeights {
  readonly tokens: Parameter;
  readonly positions: Parameter | undefined;
  readonly blocks: readonly BlockWeights[];
  readonly finalNorm: LinearWeights;
  /** The token embedding where it is tied. */
  readonly head: Parameter;
}

function arrange(config: ModelConfig, parameters: ReadonlyMap<string, Parameter>, tiedHead?: Parameter): ModelWeights {
  const pair = (name: string): LinearWeights => ({
    weight: named(parameters, `${name}.weight`),
    bias: parameters.get(`${name}.bias`),
  });
  const tokens = named(parameters, 'embedding.tokens');
  return {
    tokens,
    positions: parameters.get('embedding.positions'),
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
        mlpNorm: pair(`${prefix}.mlpNorm`),
        mlp: {
          gate: config.mlp.kind === 'gated' ? pair(`${prefix}.mlp.gate`) : undefined,
          up: pair(`${prefix}.mlp.up`),
          down: pair(`${prefix}.mlp.down`),
        },
      };
    }),
    finalNorm: pair('finalNorm'),
    head: config.tieEmbeddings ? (tiedHead ?? tokens) : named(parameters, 'head'),
  };
}

function named(parameters: ReadonlyMap<string, Parameter>, name: string): Parameter {
  const parameter = parameters.get(name);
  if (!parameter) throw new Error(`internal: no parameter ${name}`);
  return parameter;
}

function uploadRope(config: ModelConfig, theta: number, device: Device): RopeTable {
  const table = ropeTable(config.contextLength, config.headSize, theta);
  const shape = [config.contextLength, config.headSize / 2];
  return keep({ cos: tensor(device, table.cos, shape, 'rope cos'), sin: tensor(device, table.sin, shape, 'rope sin') });
}
