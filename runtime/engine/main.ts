// The door of the room: engines, requests, and text from a model in memory.
export type { Engine } from './engine.ts';
export { loadEngine } from './load-engine.ts';
export type { LoadedEngine } from './load-engine.ts';
export { generateText } from './generate-text.ts';
export type { EngineObserver, EngineStats } from './metrics.ts';
export type { FinishReason, GenerateRequest, Output, ScoredToken, Usage } from './request.ts';
