// Where the values of a model's parameters come from, one at a time: a model on a device, or files.
import type { ModelConfig } from './config.ts';

export interface WeightSource {
  readonly config: ModelConfig;
  /** Values of a parameter of `parameterSpecs(config)`, row-major. */
  read(parameter: string): Promise<Float32Array>;
}
