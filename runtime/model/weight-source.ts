// Where the values of a model's parameters come from, one at a time: a model on a device, or files.
import type { ModelConfig } from './config.ts';
import type { GgufTensorType } from './gguf/tensor-types.ts';

export interface WeightSource {
  readonly config: ModelConfig;
  /** Values of a parameter of `parameterSpecs(config)`, row-major. */
  read(parameter: string): Promise<Float32Array>;
  /** How the source keeps a parameter; absent where it has values only. */
  typeOf?(parameter: string): GgufTensorType;
  /** The same parameter as the source keeps it, for kernels that multiply with quantised blocks; absent where the source has values only. */
  stored?(parameter: string): Promise<StoredRows>;
}

/** Rows of whole blocks, one row after the other. */
export interface StoredRows {
  readonly type: GgufTensorType;
  readonly rows: number;
  readonly bytes: Uint8Array;
}
