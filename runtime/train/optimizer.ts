// AdamW over the parameters of a model: its moments, and one update.
import type { Model } from '#runtime/model/main.ts';
import { parameterSpecs } from '#runtime/model/main.ts';
import { adamW, globalNorm, unscoped, zeros } from '#runtime/tensor/main.ts';
import type { Parameter, Tensor } from '#runtime/tensor/main.ts';

export interface AdamWConfig {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled decay of the parameters whose spec says so: matrices and embeddings, not norms and biases. */
  readonly weightDecay: number;
  /** Global norm above which all gradients are scaled down. */
  readonly clipNorm: number;
}

export class AdamW {
  readonly parameters: readonly Parameter[];
  readonly first: readonly Tensor[];
  readonly second: readonly Tensor[];
  readonly #model: Model;
  readonly #decays: readonly boolean[];
  readonly #config: AdamWConfig;

  /** Moments start at zero. The order of the model's parameters is the order of the global norm. */
  constructor(model: Model, config: AdamWConfig) {
    const parameters = [...model.parameters.values()];
    this.#model = model;
    this.#decays = parameterSpecs(model.config).map(({ decay }) => decay);
    this.#config = config;
    this.parameters = parameters;
    const moments = (kind: string) =>
      unscoped(() => parameters.map((parameter) => zeros(model.device, parameter.shape, `${kind} moment of ${parameter.label}`)));
    this.first = moments('first');
    this.second = moments('second');
  }

  /** Updates all parameters in place. `gradients` pair up with `parameters`; `step` counts from 1. Returns the norm before clipping, [1]. */
  update(gradients: readonly Tensor[], learningRate: number, step: number): Tensor {
    const norm = globalNorm(this.#model.device, gradients);
    for (const decays of [true, false]) {
      const chosen = this.#decays.flatMap((decay, index) => (decay === decays ? [index] : []));
      const pick = <T>(list: readonly T[]) => chosen.map((index) => list[index]!);
      if (chosen.length === 0) continue;
      adamW(this.#model.device, {
        ...this.#config,
        parameters: pick(this.parameters),
        gradients: pick(gradients),
        firstMoments: pick(this.first),
        secondMoments: pick(this.second),
        weightDecay: decays ? this.#config.weightDecay : 0,
        norm,
        learningRate,
        step,
      });
    }
    return norm;
  }

  [Symbol.dispose](): void {
    for (const moment of [...this.first, ...this.second]) moment.dispose();
  }
}
