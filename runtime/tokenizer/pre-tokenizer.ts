// Cuts text into the words that merges never cross. Only known patterns are run: a pattern out of a file could take exponential time.
import { WindlassError } from '#runtime/api/errors.ts';
import type { PreTokenizerConfig } from './tokenizer-file.ts';

const contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`;
const upper = String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`;
const lower = String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`;
const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;

/**
 * Patterns as they stand in tokenizer.json, by what they are of. Each matches all text and needs time linear in its length: what an alternative
 * scans in vain, the next one consumes.
 */
export const wordPatterns = {
  gpt2,
  llama3: String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`,
  /** Qwen 2, 2.5, 3 */
  qwen2: String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`,
  /** Qwen 3.5: marks belong to words */
  qwen35: String.raw`${contractions}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${spaces}`,
  /** GPT-4o, Llama 4 */
  gpt4o: String.raw`[^\r\n\p{L}\p{N}]?[${upper}]*[${lower}]+${contractions}?|[^\r\n\p{L}\p{N}]?[${upper}]+[${lower}]*${contractions}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`,
  /** Of GGUF files that name no pattern: these three and that of GPT-2, one after the other. */
  punctuation: String.raw`[\p{P}$+<=>^~|]+|[^\p{P}$+<=>^~|]+`,
  digits: String.raw`\p{N}+|\P{N}+`,
  threeDigits: String.raw`[0-9][0-9][0-9]|\P{N}+|(?:(?![0-9][0-9][0-9])\p{N})+`,
} as const;

const knownPatterns: ReadonlySet<string> = new Set(Object.values(wordPatterns));

/** White_Space of Unicode: what the reference means by \s. JavaScript's own \s lacks U+0085 and has U+FEFF. */
const whiteSpace = String.raw`\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;

function compile(pattern: string): RegExp {
  const source = pattern
    .replaceAll(String.raw`(?!\S)`, `(?![^${whiteSpace}])`)
    .replaceAll(String.raw`[^\s`, `[^${whiteSpace}`)
    .replaceAll(String.raw`\s`, `[${whiteSpace}]`);
  return new RegExp(source, 'gu');
}

const individualDigits = /\p{N}|\P{N}+/gu;
const contiguousDigits = /\p{N}+|\P{N}+/gu;

export interface PreTokenizer {
  /** Put a space before every piece of text that does not start with one. */
  readonly prefixSpace: boolean;
  /** Applied one after another, each to every piece that the one before left. */
  readonly splits: readonly RegExp[];
}

function refuse(what: string): never {
  throw new WindlassError('WL_TOKENIZER_INVALID', `tokenizer.json: pre_tokenizer ${what} is not supported`);
}

/** Builds a pre-tokenizer. Throws WL_TOKENIZER_INVALID naming the part that is not supported. */
export function buildPreTokenizer(config: PreTokenizerConfig): PreTokenizer {
  const steps = config.type === 'Sequence' ? config.pretokenizers : [config];
  const splits: RegExp[] = [];
  let prefixSpace = false;
  for (const [index, step] of steps.entries()) {
    if (step.type === 'Digits') splits.push(step.individual_digits ? individualDigits : contiguousDigits);
    else if (step.type === 'Split') splits.push(splitPattern(step));
    else {
      if (index !== steps.length - 1) refuse('with ByteLevel before the last place');
      if (step.add_prefix_space && splits.length > 0) refuse('with add_prefix_space after another split');
      prefixSpace = step.add_prefix_space;
      if (step.use_regex) splits.push(compile(gpt2));
    }
  }
  if (steps.at(-1)?.type !== 'ByteLevel') refuse('without ByteLevel as its last part');
  return { prefixSpace, splits };
}

function splitPattern(step: Extract<PreTokenizerConfig, { type: 'Split' }>): RegExp {
  const pattern = 'Regex' in step.pattern ? step.pattern.Regex : undefined;
  if (pattern === undefined || !knownPatterns.has(pattern)) refuse(`Split pattern ${JSON.stringify(step.pattern).slice(0, 300)}`);
  // As the patterns match everything, keeping only matches ("Removed" inverted) equals isolating them.
  const isolates = step.behavior === 'Isolated' || (step.behavior === 'Removed' && step.invert);
  if (!isolates) refuse(`Split behavior ${step.behavior}${step.invert ? ' (inverted)' : ''}`);
  return compile(pattern);
}

/** Calls `visit` with each word of `piece` in order. */
export function forEachWord(tokenizer: PreTokenizer, piece: string, visit: (word: string) => void): void {
  if (piece === '') return;
  const text = tokenizer.prefixSpace && !piece.startsWith(' ') ? ` ${piece}` : piece;
  splitFrom(tokenizer.splits, 0, text, visit);
}

function splitFrom(splits: readonly RegExp[], index: number, text: string, visit: (word: string) => void): void {
  const split = splits[index];
  if (!split) return visit(text);
  const last = index + 1 === splits.length;
  let start = 0;
  while (start < text.length) {
    split.lastIndex = start;
    const end = split.test(text) ? split.lastIndex : text.length;
    const word = text.slice(start, end);
    if (last) visit(word);
    else splitFrom(splits, index + 1, word, visit);
    start = end;
  }
}
