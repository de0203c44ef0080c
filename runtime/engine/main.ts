// The door of the room: engines, requests, and text from a model in memory.
export { Engine } from './engine.ts';
export type { EngineInit, EngineLimits } from './engine.ts';
export type { Vocabulary } from './generation.ts';
export { createEngine, loadEngine } from './load-engine.ts';
export type { EngineOptions, EngineSetup, LoadedEngine } from './load-engine.ts';
export { generateText } from './generate-text.ts';
export type { GenerateTextOptions } from './generate-text.ts';
export type { EngineObserver, EngineStats } from './metrics.ts';
export type { FinishReason, GenerateRequest, Output, ScoredToken, TokenLogprob, Usage } from './request.ts';
