// Reading and writing tokenizer.json: the format, its limits, and what of it is supported.
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';

/** Larger files than any published vocabulary (Gemma 3: 33 MB). */
export const maxTokenizerFileBytes = 64 * 1024 * 1024;
const maxTokens = 1 << 20;
const maxMerges = 1 << 21;
export const maxTokenCharacters = 4096;
const maxAddedTokens = 1 << 16;
const maxDepth = 16;

const Digits = z.object({ type: z.literal('Digits'), individual_digits: z.boolean() });
const Split = z.object({
  type: z.literal('Split'),
  pattern: z.union([z.object({ Regex: z.string().max(4096) }), z.object({ String: z.string().max(4096) })]),
  behavior: z.string().max(64),
  invert: z.boolean().default(false),
});
const ByteLevel = z.object({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.boolean().default(true),
  use_regex: z.boolean().default(true),
});
const PreTokenizerStep = z.discriminatedUnion('type', [Digits, Split, ByteLevel]);
const PreTokenizerConfig = z.discriminatedUnion('type', [
  Digits,
  Split,
  ByteLevel,
  z.object({ type: z.literal('Sequence'), pretokenizers: z.array(PreTokenizerStep).min(1).max(8) }),
]);
export type PreTokenizerConfig = z.output<typeof PreTokenizerConfig>;

const TemplatePart = z.union([
  z.object({ SpecialToken: z.object({ id: z.string().max(maxTokenCharacters) }) }),
  z.object({ Sequence: z.object({ id: z.literal('A') }) }),
]);
const Template = z.object({
  type: z.literal('TemplateProcessing'),
  single: z.array(TemplatePart).max(64),
  special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int().min(0).max(maxTokens)).max(64) })),
});
const ByteLevelProcessor = z.object({ type: z.literal('ByteLevel') });
const PostProcessor = z.discriminatedUnion('type', [
  Template,
  ByteLevelProcessor,
  z.object({
    type: z.literal('Sequence'),
    processors: z.array(z.discriminatedUnion('type', [Template, ByteLevelProcessor])).max(8),
  }),
]);

const AddedTokenEntry = z.object({
  id: z.int().min(0).max(maxTokens),
  content: z.string().min(1).max(maxTokenCharacters),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().default(true),
  special: z.boolean().default(false),
});
export type AddedTokenEntry = z.output<typeof AddedTokenEntry>;

const emptyAffix = z.literal(['']).nullish();
const Shell = z.object({
  added_tokens: z.array(AddedTokenEntry).max(maxAddedTokens).default([]),
  normalizer: z.object({ type: z.literal('NFC') }).nullish(),
  pre_tokenizer: PreTokenizerConfig,
  post_processor: PostProcessor.nullish(),
  decoder: z.object({ type: z.literal('ByteLevel') }),
  model: z.object({
    type: z.literal('BPE').optional(),
    dropout: z.literal(0).nullish(),
    unk_token: z.string().max(maxTokenCharacters).nullish(),
    continuing_subword_prefix: emptyAffix,
    end_of_word_suffix: emptyAffix,
    fuse_unk: z.boolean().nullish(),
    byte_fallback: z.literal(false).nullish(),
    ignore_merges: z.boolean().nullish(),
    vocab: z.unknown().optional(),
    merges: z.unknown().optional(),
  }),
});

export interface TokenizerFile {
  /** Tokens of the model by id, in the byte alphabet; ids that only added tokens have are undefined. */
  readonly vocabulary: readonly (string | undefined)[];
  readonly tokenIds: ReadonlyMap<string, number>;
  /** Left and right id and the id they merge to, by rank: three numbers each. */
  readonly merges: Int32Array;
  readonly ignoreMerges: boolean;
  readonly normalize: boolean;
  readonly addedTokens: readonly AddedTokenEntry[];
  readonly preTokenizer: PreTokenizerConfig;
  /** Ids that the template puts before and after a text. */
  readonly prefixIds: readonly number[];
  readonly suffixIds: readonly number[];
  /** The parts as they stood in the file, for writing them back. */
  readonly parts: Readonly<Record<string, unknown>>;
}

function invalid(message: string, cause?: unknown): never {
  throw new WindlassError('WL_TOKENIZER_INVALID', `tokenizer.json: ${message}`, cause === undefined ? {} : { cause });
}

/** Parses and checks a tokenizer.json. Throws WL_TOKENIZER_INVALID naming the part that is malformed, too large or not supported. */
export function parseTokenizerFile(text: string): TokenizerFile {
  if (text.length > maxTokenizerFileBytes) invalid(`${text.length} characters, more than ${maxTokenizerFileBytes}`);
  let parts: unknown;
  try {
    parts = JSON.parse(text);
  } catch (error) {
    invalid(`not JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  return checkTokenizerParts(parts);
}

/** Checks the parts of a tokenizer.json as `parseTokenizerFile` does. */
export function checkTokenizerParts(parts: unknown): TokenizerFile {
  const { vocab, merges: pairs, addedTokens, ...shell } = checkTokenizerShell(parts);
  const { vocabulary, tokenIds } = readVocabulary(vocab);
  const merges = readMerges(pairs, tokenIds);
  checkAddedTokens(addedTokens, { textOf: (id) => vocabulary[id], idOf: (text) => tokenIds.get(text) });
  return { vocabulary, tokenIds, merges, addedTokens, ...shell, parts: parts as Record<string, unknown> };
}

/** All of it but the lists of the model, which are unchecked. */
interface TokenizerShell extends Pick<
  TokenizerFile,
  'ignoreMerges' | 'normalize' | 'addedTokens' | 'preTokenizer' | 'prefixIds' | 'suffixIds'
> {
  readonly vocab: unknown;
  readonly merges: unknown;
}

export function checkTokenizerShell(parts: unknown): TokenizerShell {
  const parsed = Shell.safeParse(parts);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = issue?.path ?? [];
    const value = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], parts);
    invalid(
      `${path.join('.')} is ${JSON.stringify(value)?.slice(0, 120) ?? 'missing'}, which is not supported (${issue?.message})`,
    );
  }
  const shell = parsed.data;
  if (deeperThan({ ...(parts as object), model: undefined }, maxDepth)) invalid(`nested deeper than ${maxDepth}`);
  return {
    vocab: shell.model.vocab,
    merges: shell.model.merges,
    ignoreMerges: shell.model.ignore_merges ?? false,
    normalize: shell.normalizer?.type === 'NFC',
    addedTokens: shell.added_tokens,
    preTokenizer: shell.pre_tokenizer,
    ...readTemplate(shell.post_processor ?? undefined),
  };
}

function deeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((inner) => deeperThan(inner, depth - 1));
}

function readVocabulary(value: unknown): Pick<TokenizerFile, 'vocabulary' | 'tokenIds'> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) invalid('model.vocab is not an object');
  const entries = Object.entries(value);
  if (entries.length > maxTokens) invalid(`model.vocab has ${entries.length} tokens, more than ${maxTokens}`);
  const vocabulary: (string | undefined)[] = [];
  for (const [token, id] of entries) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= maxTokens) {
      invalid(`model.vocab gives ${JSON.stringify(token.slice(0, 40))} the id ${String(id)}`);
    }
    if (token.length > maxTokenCharacters) invalid(`token ${id} has ${token.length} characters, more than ${maxTokenCharacters}`);
    if (vocabulary[id] !== undefined)
      invalid(`tokens ${JSON.stringify(vocabulary[id])} and ${JSON.stringify(token)} share the id ${id}`);
    vocabulary[id] = token;
  }
  // Holes of a sparse array would make it slow and let `map` skip them.
  for (let id = 0; id < vocabulary.length; id++) vocabulary[id] ??= undefined;
  return { vocabulary, tokenIds: new Map(entries as [string, number][]) };
}

function readMerges(value: unknown, tokenIds: ReadonlyMap<string, number>): Int32Array {
  if (!Array.isArray(value)) invalid('model.merges is not a list');
  if (value.length > maxMerges) invalid(`model.merges has ${value.length} entries, more than ${maxMerges}`);
  const merges = new Int32Array(3 * value.length);
  for (const [rank, entry] of value.entries()) {
    const [left, right, ...rest] = typeof entry === 'string' ? entry.split(' ') : Array.isArray(entry) ? entry : [];
    if (typeof left !== 'string' || typeof right !== 'string' || rest.length > 0) {
      invalid(`model.merges[${rank}] is not a pair of tokens`);
    }
    const ids = [left, right, left + right].map((token) => tokenIds.get(token));
    const missing = ids.indexOf(undefined);
    if (missing !== -1)
      invalid(`model.merges[${rank}]: ${JSON.stringify([left, right, left + right][missing])} is not in the vocabulary`);
    merges.set(ids as number[], 3 * rank);
  }
  return merges;
}

/** Tokens of the model, in the byte alphabet. */
export interface TokenLookUp {
  readonly textOf: (id: number) => string | undefined;
  readonly idOf: (text: string) => number | undefined;
}

/** Throws WL_TOKENIZER_INVALID where added tokens do not fit the tokens of the model, or each other. */
export function checkAddedTokens(entries: readonly AddedTokenEntry[], { textOf, idOf }: TokenLookUp): void {
  const byId = new Map<number, string>();
  const contents = new Set<string>();
  for (const { id, content } of entries) {
    const known = idOf(content);
    const taken = textOf(id) ?? byId.get(id);
    if (known === undefined ? taken !== undefined : known !== id) {
      invalid(
        `added token ${JSON.stringify(content)} has the id ${id}, which is ${known === undefined ? `that of ${JSON.stringify(taken)}` : `${known} in the vocabulary`}`,
      );
    }
    if (byId.has(id) || contents.has(content)) invalid(`added token ${JSON.stringify(content)} (id ${id}) is listed twice`);
    byId.set(id, content);
    contents.add(content);
  }
}

function readTemplate(processor: z.output<typeof PostProcessor> | undefined): { prefixIds: number[]; suffixIds: number[] } {
  const prefixIds: number[] = [];
  const suffixIds: number[] = [];
  const steps = processor === undefined ? [] : processor.type === 'Sequence' ? processor.processors : [processor];
  for (const step of steps) {
    if (step.type !== 'TemplateProcessing') continue;
    const textAt = step.single.findIndex((part) => 'Sequence' in part);
    if (textAt === -1 || step.single.filter((part) => 'Sequence' in part).length !== 1) {
      invalid('post_processor: a template must have the text exactly once');
    }
    const before: number[] = [];
    for (const [index, part] of step.single.entries()) {
      if ('Sequence' in part) continue;
      const ids = step.special_tokens[part.SpecialToken.id]?.ids;
      if (!ids) invalid(`post_processor: special token ${JSON.stringify(part.SpecialToken.id)} has no ids`);
      if (index < textAt) before.push(...ids);
      else suffixIds.push(...ids);
    }
    prefixIds.unshift(...before);
  }
  return { prefixIds, suffixIds };
}

/** Writes the file in the order and layout of the reference implementation: equal content gives equal bytes. */
export function formatTokenizerFile(file: TokenizerFile): string {
  const { parts, vocabulary, merges } = file;
  const model = parts['model'] as Record<string, unknown>;
  const indent = (value: unknown, spaces: number): string =>
    JSON.stringify(value ?? null, null, 2).replaceAll('\n', `\n${' '.repeat(spaces)}`);
  const lines = [
    `  "version": "1.0"`,
    // They concern batches of callers, not the ids of a text: read over, and not written.
    `  "truncation": null`,
    `  "padding": null`,
    `  "added_tokens": ${indent(file.addedTokens, 2)}`,
    ...['normalizer', 'pre_tokenizer', 'post_processor', 'decoder'].map((key) => `  "${key}": ${indent(parts[key], 2)}`),
  ];
  const modelLines = [
    `    "type": "BPE"`,
    ...['dropout', 'unk_token', 'continuing_subword_prefix', 'end_of_word_suffix'].map(
      (key) => `    "${key}": ${indent(model[key], 4)}`,
    ),
    ...['fuse_unk', 'byte_fallback', 'ignore_merges'].map((key) => `    "${key}": ${model[key] === true}`),
  ];
  // By hand: a JavaScript object would move tokens that look like integers to the front.
  const tokens: string[] = [];
  for (const [id, token] of vocabulary.entries()) if (token !== undefined) tokens.push(`      ${JSON.stringify(token)}: ${id}`);
  modelLines.push(`    "vocab": {\n${tokens.join(',\n')}\n    }`);
  const pairs: string[] = [];
  for (let i = 0; i < merges.length; i += 3) {
    const [left, right] = [vocabulary[merges[i]!], vocabulary[merges[i + 1]!]];
    pairs.push(`      [\n        ${JSON.stringify(left)},\n        ${JSON.stringify(right)}\n      ]`);
  }
  modelLines.push(pairs.length === 0 ? '    "merges": []' : `    "merges": [\n${pairs.join(',\n')}\n    ]`);
  lines.push(`  "model": {\n${modelLines.join(',\n')}\n  }`);
  return `{\n${lines.join(',\n')}\n}`;
}
