// The door of the room: layouts, and the training of one model by many ranks.
export { ParallelLayout } from './layout.ts';
export { noParallelism } from './parallelism.ts';
export type { Parallelism } from './parallelism.ts';
export { openMesh } from './execution/mesh.ts';
export type { Mesh } from './execution/mesh.ts';
export { recomputeWithin } from './plan/recompute-budget.ts';
export { layoutForWorld } from './layout-choices.ts';
export { RankExecution } from './execution/rank-execution.ts';
export type { ExecutionOptions } from './execution/rank-execution.ts';
export type { Batch } from './execution/grains.ts';
export type { PieceState } from './execution/flat-state.ts';
export { TraceRecorder } from './trace/recorder.ts';
export { traceFileName } from './trace/chrome.ts';
