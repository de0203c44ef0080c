// The door of the room: tensors, scopes, the tape and the differentiable operations.
export { openDevice } from './device.ts';
export type { Device } from './device.ts';
export { Parameter, Tensor } from './tensor.ts';
export { keep, scope, unscoped } from './scope.ts';
export {
  detachedParameter,
  empty,
  emptyBytes,
  emptyIntegers,
  emptyParameter,
  fill,
  fillNormal,
  full,
  tensor,
  zeros,
} from './create.ts';
export { recordingTape, Tape, withoutTape } from './tape.ts';
export { Event, Stream } from './stream.ts';
export { digest, FileLanes } from './checksums.ts';
export { readFileInto } from './file-read.ts';
export { Communicator } from './communicator.ts';
export { communicationLog, isMark, StreamClock } from './stream-clock.ts';
export type { CommRecord } from './stream-clock.ts';
export { StreamProfile, wallClockUs } from './stream-profile.ts';
export type { DeferredGradients } from './deferred.ts';
export { copyInto, roundedView, view } from './views.ts';
export { stored, widened, withPrecision } from './precision.ts';
export type { Precision } from './precision.ts';
export { checkpoint } from './recompute.ts';
export { expectNoLeaks, liveTensorCount } from './leaks.ts';
export { mapAlignment, MappedFile, packing } from './mapped-file.ts';
export { packedSize, packWeight } from './packing.ts';
export {
  dequantize,
  packQuantized,
  quantize,
  quantizedBytes,
  quantizedPanelBytes,
  quantizedTable,
  QuantizedWeight,
  quantTypes,
  setQuantized,
} from './quantized.ts';
export type { QuantType } from './quantized.ts';
export { addBias } from './bias.ts';
export { giveWeightGradient, linear, linears } from './linear.ts';
export { addLayerNorm, addRmsNorm, layerNorm, rmsNorm, rmsNormHeads } from './norm.ts';
export type { AddedNorm } from './norm.ts';
export { causalAttention, rope } from './attention.ts';
export type { AttentionOptions, RopeTable } from './attention.ts';
export { cacheHeadBytes, cacheTypes, emptyCache, pagedAttention, writePages } from './paged-cache.ts';
export type { CacheType, PagedCache } from './paged-cache.ts';
export { add, addInto, dropout, gelu, geluGate, relu, scaled, siluGate } from './elementwise.ts';
export { combine, dispatch, expertLinears, route } from './mixture.ts';
export { embedding, gatherRows } from './embedding.ts';
export { crossEntropy, sum } from './loss.ts';
export { vocabularyExponentials, vocabularyInputGradient, vocabularyLogits, vocabularyLosses } from './vocabulary-loss.ts';
export type { VocabularyRows } from './vocabulary-loss.ts';
export { gatherLogprobs, sampleTokens, topK } from './sampling.ts';
export { adamW, globalNorm, normOf, squaresMax, squaresSum } from './optimizer.ts';
