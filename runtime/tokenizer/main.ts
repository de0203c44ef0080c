// The door of the room: tokenizers, their trainer, streaming, and chat templates.
export { Tokenizer } from './tokenizer.ts';
export type { EncodeOptions } from './tokenizer.ts';
export { StreamDecoder } from './stream-decoder.ts';
export { StreamEncoder } from './stream-encoder.ts';
export { trainTokenizer } from './train-tokenizer.ts';
export type { TextPart, TokenizerTraining } from './train-tokenizer.ts';
export { formatTokenizerConfig, parseTokenizerConfig, readTokenizerConfig } from './tokenizer-config.ts';
export type { TokenizerConfig } from './tokenizer-config.ts';
export { createChatTemplate } from './chat-template.ts';
export type { ChatMessage, ChatTemplate, ChatTemplateOptions } from './chat-template.ts';
