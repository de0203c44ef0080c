// Trains a model together with the other ranks of its world, or alone: steps, evaluation, and the whole model when it is asked for.
import { parameterSpecs } from '#runtime/model/main.ts';
import type { ModelConfig, WeightSource } from '#runtime/model/main.ts';
import { noParallelism, openMesh, ParallelLayout, RankExecution } from '#runtime/parallel/main.ts';
import type { Batch, ExecutionOptions, Mesh } from '#runtime/parallel/main.ts';
import { empty, fill, fillNormal, scope } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { updateWeights } from './optimizer.ts';
import type { AdamWConfig } from './optimizer.ts';

export interface TrainerOptions extends Omit<ExecutionOptions, 'mesh'> {
  /** The ranks; one alone if absent. */
  readonly mesh?: Mesh;
  readonly optimizer: AdamWConfig;
}

export interface StepResult {
  /** Mean loss in nats per token that counts. */
  readonly loss: number;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
}

export interface StepOptions {
  /** The weights change only if it says so of the numbers of the step; the device waits for it. */
  readonly mayUpdate?: ((result: StepResult) => boolean) | undefined;
  /** Enqueues the update, and what must be before and after it. */
  readonly around?: ((update: () => void) => void) | undefined;
}

export class Trainer {
  readonly execution: RankExecution;
  readonly #optimizer: AdamWConfig;

  /** Weights are undefined until `load`; moments are zero. */
  constructor({ optimizer, mesh, ...options }: TrainerOptions) {
    this.#optimizer = optimizer;
    this.execution = new RankExecution({
      ...options,
      mesh: mesh ?? openMesh(new ParallelLayout(noParallelism, 1), 0, undefined),
    });
  }

  get config(): ModelConfig {
    return this.execution.config;
  }

  /** Takes the weights of `source`, the same on all ranks. */
  async load(source: Pick<WeightSource, 'read'>): Promise<void> {
    await this.execution.load(source);
  }

  /** One optimizer step. `step` counts from 1. Resolves, on all ranks to the same numbers, when it has run. */
  async step(
    batch: Batch,
    step: number,
    learningRate: number,
    { mayUpdate, around = (update) => update() }: StepOptions = {},
  ): Promise<StepResult> {
    const { execution } = this;
    const { lossSum, tokens, gradients, norm } = await execution.gradients(batch, step);
    const read = async (): Promise<StepResult> => {
      const [[loss = NaN], [gradientNorm = NaN]] = await Promise.all([lossSum.read(), norm.read()]);
      return { loss: loss / tokens, gradientNorm };
    };
    try {
      const first = mayUpdate && (await read());
      if (first && !mayUpdate(first)) return first;
      const options = { norm, learningRate, step, config: this.#optimizer };
      around(() => updateWeights(execution.device, execution.pieces, gradients, options));
      execution.weightsChanged();
      return first ?? (await read());
    } finally {
      for (const tensor of [lossSum, norm, ...gradients]) tensor.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.execution[Symbol.dispose]();
  }
}

/** Initial values, drawn by (seed, index of the parameter) and place in it: the same on every machine and in every layout. */
export function initialWeights(config: ModelConfig, seed: number, device: Device): Pick<WeightSource, 'read'> {
  const specs = parameterSpecs(config);
  return {
    read(name) {
      const index = specs.findIndex((spec) => spec.name === name);
      const { shape, init } = specs[index]!;
      return scope(() => {
        const values = empty(device, shape, `initial ${name}`);
        if (init.kind === 'constant') fill(values, init.value);
        else fillNormal(values, { mean: 0, std: init.std, seed, stream: index });
        return values.read();
      });
    },
  };
}
