// The door of the room: configurations, models, their forward pass, and the files they come from and go to.
export type { Initialisation, LogicalAxis, ModelConfig, ModelSize, ModelSurroundings, ParameterSpec } from './config.ts';
export { parameterCount, parameterSpecs } from './parameters.ts';
export { createModel, Model, packModel } from './model.ts';
export type { BlockWeights, LinearWeights, ModelWeights } from './model.ts';
export { headWeight, hiddenStates, logits } from './forward.ts';
export type { ForwardOptions } from './forward.ts';
export { contiguous, paged } from './key-values.ts';
export type { KeyValueSource, PagedStep } from './key-values.ts';
export { familyOf, newModelConfig, parseHuggingFaceConfig } from './families/families.ts';
export { loadHuggingFace, saveHuggingFace, weightsOf } from './huggingface.ts';
export { openHuggingFace } from './huggingface-reader.ts';
export { writeHuggingFace } from './huggingface-writer.ts';
export type { ExtraFile, WriteOptions } from './huggingface-writer.ts';
export { folderDigest } from './folder.ts';
export type { WeightSource } from './weight-source.ts';
