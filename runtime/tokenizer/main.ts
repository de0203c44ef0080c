// The door of the room: tokenizers, their trainer, streaming, and chat templates.
export { Tokenizer } from './tokenizer.ts';
export { StreamEncoder } from './stream-encoder.ts';
export { trainTokenizer } from './train-tokenizer.ts';
export type { TextPart } from './train-tokenizer.ts';
export { formatTokenizerConfig } from './tokenizer-config.ts';
export { createChatTemplate } from './chat-template.ts';
export type { ChatMessage } from './chat-template.ts';
export { ggufTokenizer } from './gguf-tokenizer.ts';
