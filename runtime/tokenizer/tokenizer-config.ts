// Reads tokenizer_config.json and chat_template.jinja of a model folder: named special tokens and the chat template.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';

const maxConfigBytes = 8 * 1024 * 1024;
/** The longest templates in use (tool calling) have about 20 KiB. */
export const maxTemplateCharacters = 64 * 1024;

export interface TokenizerConfig {
  readonly bosToken?: string;
  readonly eosToken?: string;
  readonly padToken?: string;
  /** Jinja source. */
  readonly chatTemplate?: string;
}

const NamedToken = z
  .union([z.string().max(4096), z.object({ content: z.string().max(4096) }).transform((token) => token.content)])
  .nullish();
const ConfigFile = z.object({
  bos_token: NamedToken,
  eos_token: NamedToken,
  pad_token: NamedToken,
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() })).max(64)]).nullish(),
});

function invalid(path: string, message: string, cause?: unknown): never {
  throw new WindlassError('WL_TOKENIZER_INVALID', `${path}: ${message}`, {
    ...(cause === undefined ? {} : { cause }),
    details: { path },
  });
}

/** Text of a file, or undefined if there is none. */
async function readIfThere(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > maxConfigBytes) invalid(path, `${size} bytes, more than ${maxConfigBytes}`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Parses the text of a tokenizer_config.json; of a list of templates the one named "default" (or else the first) counts. */
export function parseTokenizerConfig(text: string, path = 'tokenizer_config.json'): TokenizerConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    invalid(path, `not JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  const parsed = ConfigFile.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    invalid(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { bos_token, eos_token, pad_token, chat_template } = parsed.data;
  const template = Array.isArray(chat_template)
    ? (chat_template.find(({ name }) => name === 'default') ?? chat_template[0])?.template
    : chat_template;
  if (template && template.length > maxTemplateCharacters) {
    invalid(path, `chat_template has ${template.length} characters, more than ${maxTemplateCharacters}`);
  }
  return {
    ...(bos_token == null ? {} : { bosToken: bos_token }),
    ...(eos_token == null ? {} : { eosToken: eos_token }),
    ...(pad_token == null ? {} : { padToken: pad_token }),
    ...(template == null ? {} : { chatTemplate: template }),
  };
}

/** Reads the configuration of a folder; without files it is empty. A chat_template.jinja wins over the template of tokenizer_config.json. */
export async function readTokenizerConfig(folder: string): Promise<TokenizerConfig> {
  const path = join(folder, 'tokenizer_config.json');
  const text = await readIfThere(path);
  const config = text === undefined ? {} : parseTokenizerConfig(text, path);
  const templatePath = join(folder, 'chat_template.jinja');
  const template = await readIfThere(templatePath);
  if (template === undefined) return config;
  if (template.length > maxTemplateCharacters) {
    invalid(templatePath, `${template.length} characters, more than ${maxTemplateCharacters}`);
  }
  return { ...config, chatTemplate: template };
}

/** Text of a tokenizer_config.json that holds `config`, for published models. */
export function formatTokenizerConfig(config: TokenizerConfig): string {
  const file = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    clean_up_tokenization_spaces: false,
    ...(config.bosToken === undefined ? {} : { bos_token: config.bosToken }),
    ...(config.eosToken === undefined ? {} : { eos_token: config.eosToken }),
    ...(config.padToken === undefined ? {} : { pad_token: config.padToken }),
    ...(config.chatTemplate === undefined ? {} : { chat_template: config.chatTemplate }),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}
