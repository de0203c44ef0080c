// The tokenizer that a GGUF file carries: byte-level BPE (`gpt2`) or SentencePiece (`llama`), as llama.cpp reads them.
import { WindlassError } from '#runtime/api/errors.ts';
import type { StoredVocabulary } from '#runtime/api/stored-vocabulary.ts';
import type { TextTable } from '#runtime/api/text-table.ts';
import { ByteLevelModel } from './byte-level-model.ts';
import { wordPatterns } from './pre-tokenizer.ts';
import { SentencePieceModel } from './sentence-piece-model.ts';
import { TokenTable } from './token-table.ts';
import { checkAddedTokens, checkTokenizerParts, checkTokenizerShell, maxTokenCharacters } from './tokenizer-file.ts';
import type { AddedTokenEntry, TokenizerFile, TokenLookUp } from './tokenizer-file.ts';
import { Tokenizer } from './tokenizer.ts';
import type { TokenizerConfig } from './tokenizer-config.ts';

const tokenType = { unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Throws WL_TOKENIZER_INVALID naming what is malformed or not supported. */
export function ggufTokenizer(vocabulary: StoredVocabulary): Tokenizer {
  try {
    if (vocabulary.model === 'gpt2') return byteLevel(vocabulary);
    if (vocabulary.model === 'llama') return sentencePiece(vocabulary);
    throw invalid(`tokenizer.ggml.model is ${JSON.stringify(vocabulary.model)}; supported are gpt2 and llama`);
  } catch (cause) {
    if (!(cause instanceof WindlassError)) throw cause;
    const { source } = vocabulary;
    throw new WindlassError(cause.code, `${source}: ${cause.message}`, { cause, details: { file: source } });
  }
}

interface Cutting {
  readonly steps: readonly unknown[];
  readonly normalizer?: { readonly type: 'NFC' };
  /** A word that is a token is not merged. */
  readonly wholeWords?: boolean;
  /** Whether a text begins with the begin-of-text token unless the file says otherwise. */
  readonly addBos?: boolean;
}

const isolated = (pattern: string) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false });
const byteLevelStep = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});

const gpt2: Cutting = { steps: [byteLevelStep(true)] };
const digitsAlone: Cutting = { steps: [{ type: 'Digits', individual_digits: true }, byteLevelStep(true)] };
const llama3: Cutting = { steps: [isolated(wordPatterns.llama3), byteLevelStep(false)], wholeWords: true, addBos: true };
const qwen2: Cutting = { steps: [isolated(wordPatterns.qwen2), byteLevelStep(false)], normalizer: { type: 'NFC' } };
const qwen35: Cutting = { steps: [isolated(wordPatterns.qwen35), byteLevelStep(false)] };
/** What llama.cpp does where a file gives no name. */
const unnamed: Cutting = {
  steps: [
    isolated(wordPatterns.punctuation),
    isolated(wordPatterns.gpt2),
    isolated(wordPatterns.digits),
    isolated(wordPatterns.threeDigits),
    byteLevelStep(false),
  ],
};

/** By llama.cpp's name (llama-vocab.cpp). */
const cuttings: ReadonlyMap<string, Cutting> = new Map([
  ['default', unnamed],
  ...['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'mellum', 'modern-bert'].map((name) => [name, gpt2] as const),
  ...['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone'].map((name) => [name, digitsAlone] as const),
  ...['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'pixtral'].map((name) => [name, llama3] as const),
  ...['qwen2', 'deepseek-r1-qwen'].map((name) => [name, qwen2] as const),
  ['qwen35', qwen35],
]);

function byteLevel(vocabulary: StoredVocabulary): Tokenizer {
  const { pre, merges } = vocabulary;
  const cutting = cuttings.get(pre);
  if (!cutting) throw invalid(`tokenizer.ggml.pre is ${JSON.stringify(pre)}; supported are ${[...cuttings.keys()].join(', ')}`);
  if (!merges) throw invalid('it has no tokenizer.ggml.merges');
  const parts = {
    added_tokens: addedTokens(vocabulary),
    normalizer: cutting.normalizer ?? null,
    pre_tokenizer: cutting.steps.length === 1 ? cutting.steps[0] : { type: 'Sequence', pretokenizers: cutting.steps },
    post_processor: template(vocabulary, cutting.addBos ?? false),
    decoder: byteLevelStep(true),
    model: { type: 'BPE', ignore_merges: cutting.wholeWords ?? false },
  };
  const whole = () => {
    const model = { ...parts.model, vocab: vocabOf(vocabulary), merges: [...merges] };
    return checkTokenizerParts({ ...parts, model });
  };
  const lists = quickLists(vocabulary, merges);
  // What is wrong with the lists is for the careful way to say.
  if (!lists) return Tokenizer.fromFile(whole(), configOf(vocabulary));
  const shell = checkTokenizerShell(parts);
  checkAddedTokens(shell.addedTokens, lists);
  let file: TokenizerFile | undefined;
  const model = new ByteLevelModel({ ...shell, ...lists });
  const { addedTokens: added, prefixIds, suffixIds } = shell;
  return new Tokenizer({ model, addedTokens: added, prefixIds, suffixIds, file: () => (file ??= whole()) }, configOf(vocabulary));
}

/** Whether text becomes this token by merging. */
function isMerged(type: number | undefined): boolean {
  return type !== tokenType.unused && type !== tokenType.control && type !== tokenType.unknown;
}

function vocabOf({ tokens, types }: StoredVocabulary): Record<string, number> {
  const entries = [...tokens].map((token, id) => [token, id] as const).filter(([, id]) => isMerged(types[id]));
  const vocab: Record<string, number> = Object.fromEntries(entries);
  const doubled = entries.find(([token, id]) => vocab[token] !== id);
  if (!doubled) return vocab;
  throw invalid(`token ${JSON.stringify(doubled[0])} stands twice, with the ids ${doubled[1]} and ${vocab[doubled[0]]}`);
}

interface Lists extends TokenLookUp {
  readonly size: number;
  readonly merges: Int32Array;
}

/** Tokens and merges as encoding needs them, made without strings; undefined where something is odd about them. */
function quickLists({ tokens, types }: StoredVocabulary, pairs: TextTable): Lists | undefined {
  const table = TokenTable.of(tokens, (id) => isMerged(types[id]));
  if (!table) return undefined;
  let size = 0;
  for (let id = 0; id < tokens.length; id += 1) {
    if (!isMerged(types[id])) continue;
    // Bytes are at least as many as characters.
    if (tokens.ends[id]! - tokens.begins[id]! > maxTokenCharacters) return undefined;
    size = id + 1;
  }
  const merges = new Int32Array(3 * pairs.length);
  const { bytes, begins, ends } = pairs;
  for (let rank = 0; rank < pairs.length; rank += 1) {
    const [begin, end] = [begins[rank]!, ends[rank]!];
    let space = begin;
    while (space < end && bytes[space] !== 0x20) space += 1;
    for (let at = space + 1; at < end; at += 1) if (bytes[at] === 0x20) return undefined;
    const left = space < end ? table.idOfBytes(bytes, begin, space) : -1;
    const right = table.idOfBytes(bytes, space + 1, end);
    const merged = table.idOfPair(bytes, begin, space, space + 1, end);
    if (left < 0 || right < 0 || merged < 0) return undefined;
    merges[3 * rank] = left;
    merges[3 * rank + 1] = right;
    merges[3 * rank + 2] = merged;
  }
  return {
    size,
    merges,
    textOf: (id) => (isMerged(types[id]) ? tokens.at(id) : undefined),
    idOf(text) {
      const id = table.idOf(text);
      return id < 0 ? undefined : id;
    },
  };
}

function sentencePiece(vocabulary: StoredVocabulary): Tokenizer {
  const { tokens, types, scores, unknown } = vocabulary;
  if (!scores) throw invalid('it has no tokenizer.ggml.scores');
  const strange = scores.findIndex((score) => !Number.isFinite(score));
  if (strange >= 0) throw invalid(`the score of token ${strange} is ${scores[strange]}`);
  const byteIds = new Int32Array(256).fill(-1);
  const texts = [...tokens];
  for (const [id, token] of texts.entries()) {
    const [, byte] = types[id] === tokenType.byte ? (/^<0x([0-9A-F]{2})>$/.exec(token) ?? []) : [];
    if (byte !== undefined) byteIds[Number.parseInt(byte, 16)] = id;
  }
  const isText = (id: number) => types[id] === 1 || types[id] === tokenType.userDefined || types[id] === tokenType.byte;
  const model = new SentencePieceModel({
    tokens: texts.map((token, id) => (isText(id) ? token : undefined)),
    scores,
    byteIds,
    unknownId: unknown ?? (types[0] === tokenType.unknown ? 0 : undefined),
    spacePrefix: vocabulary.addSpacePrefix ?? true,
  });
  const [prefixIds, suffixIds] = around(vocabulary, true);
  return new Tokenizer({ model, addedTokens: addedTokens(vocabulary), prefixIds, suffixIds }, configOf(vocabulary));
}

/** Tokens that are found in text before anything else is done to it. */
function addedTokens({ tokens, types }: StoredVocabulary): AddedTokenEntry[] {
  const added: AddedTokenEntry[] = [];
  for (const [id, type] of types.entries()) {
    const special = type === tokenType.control || type === tokenType.unknown;
    if (!special && type !== tokenType.userDefined) continue;
    const content = tokens.at(id);
    if (content) added.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special });
  }
  return added;
}

/** Ids before and after a text. */
function around({ bos, eos, addBos, addEos }: StoredVocabulary, bosByDefault: boolean): [number[], number[]] {
  const before = (addBos ?? bosByDefault) && bos !== undefined ? [bos] : [];
  const after = addEos && eos !== undefined ? [eos] : [];
  return [before, after];
}

/** The same as a post_processor of tokenizer.json. */
function template(vocabulary: StoredVocabulary, bosByDefault: boolean): unknown {
  const [before, after] = around(vocabulary, bosByDefault);
  if (before.length + after.length === 0) return byteLevelStep(true);
  const named = (ids: readonly number[]) =>
    ids.map((id) => ({ SpecialToken: { id: vocabulary.tokens.at(id) ?? '', type_id: 0 } }));
  const entries = [...before, ...after].map((id) => [vocabulary.tokens.at(id) ?? '', id] as const);
  return {
    type: 'TemplateProcessing',
    single: [...named(before), { Sequence: { id: 'A', type_id: 0 } }, ...named(after)],
    pair: [],
    special_tokens: Object.fromEntries(entries.map(([token, id]) => [token, { id: token, ids: [id], tokens: [token] }])),
  };
}

function configOf({ tokens, bos, eos, padding, chatTemplate }: StoredVocabulary): TokenizerConfig {
  const named = (key: 'bosToken' | 'eosToken' | 'padToken', id: number | undefined) => {
    const token = id === undefined ? undefined : tokens.at(id);
    return token === undefined ? {} : { [key]: token };
  };
  return {
    ...named('bosToken', bos),
    ...named('eosToken', eos),
    ...named('padToken', padding),
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
  };
}

function invalid(message: string): WindlassError {
  return new WindlassError('WL_TOKENIZER_INVALID', message);
}
