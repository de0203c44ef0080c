// The door of the room: configurations, models, their forward pass, and the folders they come from and go to.
export type { ModelConfig, ParameterSpec } from './config.ts';
export { familyOf, newModelConfig } from './families/families.ts';
export { parameterCount, parameterSpecs } from './parameters.ts';
export { servedModelFrom } from './served-model.ts';
export { identityOf, sharedModelFrom } from './packed/cache.ts';
export type { PackedCacheOptions } from './packed/cache.ts';
export { createModel, dropPlainWeights, Model, packModel } from './model.ts';
export { ForwardPass, headWeight, hiddenStates, logits } from './forward.ts';
export type { ForwardOptions, Recompute, ResidualStream } from './forward.ts';
export { wholeLayers } from './layers.ts';
export type { Layers } from './layers.ts';
export type { WeightSource } from './weight-source.ts';
export { contiguous, paged } from './key-values.ts';
export { loadHuggingFace, modelFrom, saveHuggingFace } from './huggingface.ts';
export { openHuggingFace } from './huggingface-reader.ts';
export { openModel } from './open-model.ts';
export { digestOfFiles, folderDigest, writeFolder } from './folder.ts';
export type { FileDigest } from './folder.ts';
