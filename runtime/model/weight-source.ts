// Where the values of a model's parameters come from, one at a time: a model on a device, or files.
import type { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from './config.ts';
import type { GgufTensorType } from './gguf/tensor-types.ts';

export interface WeightSource {
  readonly config: ModelConfig;
  /** Values of a parameter of `parameterSpecs(config)`, row-major. */
  read(parameter: string): Promise<Float32Array>;
  /** How the source keeps a parameter; absent where it has values only. */
  typeOf?(parameter: string): GgufTensorType;
  /** The same parameter as the source keeps it, for kernels that multiply with quantised blocks; absent where the source has values only. */
  readonly stored?: (parameter: string) => Promise<StoredRows>;
  /** Where a parameter lies in an open file as it is kept, for a device that reads by itself; undefined where rows must be put in order first. */
  placeOf?(parameter: string): FilePlace | undefined;
}

export interface FilePlace {
  readonly type: GgufTensorType;
  readonly rows: number;
  readonly bytes: number;
  /** Descriptor of the file, and where in it the first byte is. */
  readonly file: number;
  readonly position: number;
  /** What to throw where the file ends before the last byte. */
  ended(): WindlassError;
}

/** Rows of whole blocks, one row after the other. */
export interface StoredRows {
  readonly type: GgufTensorType;
  readonly rows: number;
  readonly bytes: Uint8Array;
}
