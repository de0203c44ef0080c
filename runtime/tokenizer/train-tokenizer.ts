// Trains a byte-level BPE tokenizer on texts: counts words, learns merges, and makes the tokenizer.json of the result.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { WindlassError } from '#runtime/api/errors.ts';
import { byteCharacters } from './byte-alphabet.ts';
import { trainBpe } from './bpe-trainer.ts';
import type { BpeTraining } from './bpe-trainer.ts';
import { buildPreTokenizer } from './pre-tokenizer.ts';
import { Tokenizer } from './tokenizer.ts';
import { WordCounter } from './word-counter.ts';

/** A part of a document; `last` ends the document. */
export interface TextPart {
  readonly text: string;
  readonly last: boolean;
}

export interface TokenizerTraining {
  /** Tokens at most, special tokens and the 256 bytes included. A small text may give fewer: it ends when no pair is left. */
  readonly vocabularySize: number;
  /** Get the ids from 0 on; the first one is end-of-text. Default `<|endoftext|>`. */
  readonly specialTokens?: readonly string[];
  readonly onProgress?: (share: number) => void;
}

const sliceMs = 5;
/** Texts are counted in parts of this size, so that no part takes longer than a slice. */
const partCharacters = 16 * 1024;
/** Words are learnt from in pieces of this many bytes: longer ones are no language, and would make every merge slow. */
const maxWordBytes = 1024;
/** Counting has no known end; it is shown as this share of the work. */
const countingShare = 0.3;

/**
 * Trains a tokenizer; equal texts in equal order give an equal tokenizer. Each string of `texts` is a document of its own;
 * documents too large for a string come as parts.
 * Gives the event loop a turn at least every 10 ms of work.
 * Throws WL_TOKENIZER_INVALID if the vocabulary can't hold the bytes and special tokens, WL_DATA_EMPTY if there is no text.
 */
export async function trainTokenizer(
  texts: AsyncIterable<string | TextPart> | Iterable<string | TextPart>,
  options: TokenizerTraining,
): Promise<Tokenizer> {
  const { vocabularySize, specialTokens = ['<|endoftext|>'], onProgress } = options;
  const least = 256 + specialTokens.length;
  if (!Number.isInteger(vocabularySize) || vocabularySize < least) {
    throw new WindlassError(
      'WL_TOKENIZER_INVALID',
      `a vocabulary of ${vocabularySize} tokens can't hold the 256 bytes and ${specialTokens.length} special tokens; it needs at least ${least}`,
    );
  }
  const pause = pauser();
  const counter = new WordCounter(buildPreTokenizer({ type: 'ByteLevel', add_prefix_space: false, use_regex: true }));
  for await (const item of texts) {
    const { text, last } = typeof item === 'string' ? { text: item, last: true } : item;
    for (let at = 0; at < text.length; at += partCharacters) {
      counter.push(text.slice(at, at + partCharacters));
      await pause();
    }
    if (last) counter.end();
  }
  counter.end();
  if (counter.counts.size === 0) throw new WindlassError('WL_DATA_EMPTY', 'there is no text to train a tokenizer on');
  onProgress?.(countingShare);

  // Byte ids in the order of their characters, as in the reference.
  const symbols = [...specialTokens, ...byteCharacters.toSorted()];
  const { words, counts } = await splitWords(counter.counts, symbols, specialTokens.length, pause);
  const training = trainBpe({ symbols, words, counts, vocabularySize });
  for (;;) {
    const step = training.next();
    if (step.done) {
      onProgress?.(1);
      return Tokenizer.fromJson(tokenizerJson(symbols, specialTokens, step.value), { eosToken: specialTokens[0] ?? '' });
    }
    if (await pause())
      onProgress?.(countingShare + (1 - countingShare) * ((step.value - least) / Math.max(1, vocabularySize - least)));
  }
}

/** A function that lets the event loop turn once `sliceMs` have passed since it last did; says whether it turned. */
function pauser(): () => Promise<boolean> | false {
  let since = performance.now();
  const turn = async (): Promise<boolean> => {
    await nextTurn();
    since = performance.now();
    return true;
  };
  return () => (performance.now() - since < sliceMs ? false : turn());
}

async function splitWords(
  counted: ReadonlyMap<string, number>,
  symbols: readonly string[],
  firstByteSymbol: number,
  pause: () => Promise<boolean> | false,
): Promise<{ words: Int32Array[]; counts: number[] }> {
  const byteIds = Int32Array.from(byteCharacters, (character) => symbols.indexOf(character, firstByteSymbol));
  const words: Int32Array[] = [];
  const counts: number[] = [];
  for (const [word, count] of counted) {
    const bytes = Buffer.from(word);
    for (let at = 0; at < bytes.length; at += maxWordBytes) {
      words.push(Int32Array.from(bytes.subarray(at, at + maxWordBytes), (byte) => byteIds[byte]!));
      counts.push(count);
    }
    const turn = pause();
    if (turn) await turn;
  }
  return { words, counts };
}

function tokenizerJson(symbols: readonly string[], specialTokens: readonly string[], { merges, made }: BpeTraining): string {
  const strings = [...symbols, ...made.values()];
  const addedTokens = specialTokens.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const pairs: [string, string][] = [];
  for (let i = 0; i < merges.length; i += 3) pairs.push([strings[merges[i]!]!, strings[merges[i + 1]!]!]);
  return JSON.stringify({
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    // An integer-like token would change its place in an object, but ids are explicit.
    model: { type: 'BPE', vocab: Object.fromEntries(strings.map((token, id) => [token, id])), merges: pairs },
  });
}
