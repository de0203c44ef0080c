// Text to tokens and back, as the protocols need it.
import { WindlassError } from '#runtime/api/errors.ts';
import { createChatTemplate } from '#runtime/tokenizer/main.ts';
import type { ChatMessage } from '#runtime/tokenizer/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';

export interface TextCodec {
  /** Tokens of a prompt. Throws WL_PROMPT_TOO_LONG for a text that cannot fit, without encoding it. */
  encode(text: string): number[];
  /** Tokens of a conversation, ending where the answer begins. */
  encodeChat(messages: readonly ChatMessage[]): number[];
  /** UTF-8 bytes of a token, special ones as they are spelled. */
  tokenBytes(id: number): Uint8Array;
}

/** Prompts use the tokenizer's template for texts, conversations the model's chat template or the plain default. */
export function codecOf(tokenizer: Tokenizer, contextLength: number): TextCodec {
  const template = createChatTemplate(tokenizer.config);
  let longestTokenBytes: number | undefined;
  const encode = (text: string, addSpecialTokens: boolean): number[] => {
    const bytes = Buffer.byteLength(text);
    // Looks at every token: only for a text that may not fit.
    const atLeast = bytes <= contextLength ? 0 : Math.ceil(bytes / (longestTokenBytes ??= longest(tokenizer)));
    if (atLeast > contextLength) {
      throw new WindlassError(
        'WL_PROMPT_TOO_LONG',
        `the prompt has at least ${atLeast} tokens; the context has ${contextLength}`,
        {
          details: { limit: contextLength },
        },
      );
    }
    return tokenizer.encode(text, { addSpecialTokens });
  };
  return {
    encode(text) {
      const ids = encode(text, true);
      const start = tokenizer.bos ?? tokenizer.eos;
      return ids.length === 0 && start !== undefined ? [start] : ids;
    },
    // A template of the model's own spells its special tokens out.
    encodeChat: (messages) => encode(template.render(messages), !template.own),
    tokenBytes: (id) => tokenizer.token(id),
  };
}

function longest(tokenizer: Tokenizer): number {
  let bytes = 1;
  for (let id = 0; id < tokenizer.vocabularySize; id += 1) bytes = Math.max(bytes, tokenizer.token(id).length);
  return bytes;
}

/** A token as JSON can show it: its text, or `bytes:\x..` where it is a part of a character. */
export function tokenText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
