// Renders a conversation into the prompt of a model, by the model's own template or a plain default.
import { Template } from '@huggingface/jinja';
import { WindlassError } from '#runtime/api/errors.ts';
import { withinTime } from './time-limit.ts';
import { maxTemplateCharacters } from './tokenizer-config.ts';
import type { TokenizerConfig } from './tokenizer-config.ts';

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

interface ChatTemplateOptions {
  /** End with what introduces the answer of the assistant. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Longest prompt that may come out, in UTF-16 units. */
  readonly maxRenderedCharacters?: number;
}

/** A megabyte of prompt is more than any context here holds. */
const defaultMaxRenderedCharacters = 1024 * 1024;
/** Real templates take a few milliseconds; nested loops over ranges could take for ever. */
const renderTimeoutMs = 250;

/** For models without a template: one line per message, the answer after `assistant:`. */
const plainTemplate = `{% for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`;

interface ChatTemplate {
  /** Whether the model brought it. */
  readonly own: boolean;
  /** The prompt; it already holds the template's special tokens, so encode it without adding any. Throws WL_REQUEST_INVALID; also for a template that takes too long. */
  render(messages: readonly ChatMessage[], options?: ChatTemplateOptions): string;
}

/**
 * Parses the chat template of a tokenizer once, to be rendered often. A template can read the values it is given and nothing else.
 * Throws WL_TOKENIZER_INVALID if it is too long, can't be parsed.
 */
export function createChatTemplate(config: TokenizerConfig): ChatTemplate {
  const source = config.chatTemplate ?? plainTemplate;
  if (source.length > maxTemplateCharacters) {
    throw new WindlassError(
      'WL_TOKENIZER_INVALID',
      `chat template: ${source.length} characters, more than ${maxTemplateCharacters}`,
    );
  }
  const template = parse(source);
  return {
    own: config.chatTemplate !== undefined,
    render(messages, options = {}) {
      const limit = options.maxRenderedCharacters ?? defaultMaxRenderedCharacters;
      const given = messages.reduce((sum, message) => sum + message.role.length + message.content.length, 0);
      if (given > limit) refuse(`the messages have ${given} characters, more than ${limit}`);
      let rendered: string;
      try {
        const values = {
          messages: messages.map((message) => ({ ...message })),
          add_generation_prompt: options.addGenerationPrompt ?? true,
          bos_token: config.bosToken ?? '',
          eos_token: config.eosToken ?? '',
          pad_token: config.padToken ?? '',
        };
        rendered = withinTime(renderTimeoutMs, () => template.render(values));
      } catch (error) {
        refuse(`the chat template refused the messages: ${error instanceof Error ? error.message : String(error)}`, error);
      }
      if (rendered.length > limit) refuse(`the rendered prompt has ${rendered.length} characters, more than ${limit}`);
      return rendered;
    },
  };
}

function parse(source: string): Template {
  try {
    return new Template(source);
  } catch (error) {
    const message = `chat template: ${error instanceof Error ? error.message : String(error)}`;
    throw new WindlassError('WL_TOKENIZER_INVALID', message, { cause: error });
  }
}

function refuse(message: string, cause?: unknown): never {
  throw new WindlassError('WL_REQUEST_INVALID', message, cause === undefined ? {} : { cause });
}
