// The door of the room: data sources, the token cache, the split and the sampler.
export { resolveData } from './source.ts';
export type { DataFile, DataOptions, DataSource } from './source.ts';
export { readDocuments } from './documents.ts';
export type { DocumentPart } from './documents.ts';
export { openTokens } from './token-cache.ts';
export type { OpenTokensOptions, TokenData } from './token-cache.ts';
export { tokenStoreOf } from './token-store.ts';
export type { ReadableFile, TokenStore } from './token-store.ts';
export { splitHeldOut } from './split.ts';
export type { Segment, Split } from './split.ts';
export { createSampler } from './sampler.ts';
export type { Batch, Sampler, SamplerOptions } from './sampler.ts';
export { heldOutBatches, unigramEntropy } from './held-out.ts';
