// What the code needs to know about a family of models beyond its configuration.
import type { ModelConfig, ModelFamily, ModelSize, ModelSurroundings } from '../config.ts';

/** A tensor as the family's checkpoints hold it. */
export interface FileTensor {
  readonly name: string;
  /** Shape in the file. */
  readonly shape: readonly number[];
  /** The parameters that it consists of: their rows one after the other, transposed as a whole where `transposed`. */
  readonly parameters: readonly string[];
  readonly transposed: boolean;
  /** Where the rows of the parameters take turns in it: so many at a time, each parameter's in its order. */
  readonly turn?: number;
}

export interface Family {
  readonly name: ModelFamily;
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** `architectures` of config.json. */
  readonly architecture: string;
  /** A new model from the `model.config` of a job. Throws WL_MODEL_INVALID naming a field that does not fit. */
  newConfig(size: ModelSize, surroundings: ModelSurroundings): ModelConfig;
  /** Throws WL_MODEL_INVALID naming a key whose value is malformed or asks for something that is not supported. */
  fromHuggingFace(json: Readonly<Record<string, unknown>>, file: string): ModelConfig;
  toHuggingFace(config: ModelConfig): Record<string, unknown>;
  /** All tensors of a checkpoint, in the order of the parameters. */
  fileTensors(config: ModelConfig): readonly FileTensor[];
  /** Other ways in which checkpoints may hold the same parameters, which are read but never written. */
  alternativeTensors?(config: ModelConfig): readonly (readonly FileTensor[])[];
  /** The name in `fileTensors` that a name found in a file stands for; undefined for one that carries no weight and is left out. */
  canonicalName(name: string): string | undefined;
}
