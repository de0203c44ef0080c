// The door of the room: data sources, the token cache, the split and the sampler.
export { resolveData } from './source.ts';
export type { DataSource } from './source.ts';
export { readDocuments } from './documents.ts';
export { openTokens, sourceDigest } from './token-cache.ts';
export type { TokenData } from './token-cache.ts';
export { splitHeldOut } from './split.ts';
export type { Split } from './split.ts';
export { createSampler } from './sampler.ts';
export { heldOutBatches, unigramEntropy } from './held-out.ts';
