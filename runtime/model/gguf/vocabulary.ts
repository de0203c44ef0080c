// What a GGUF file says about its tokenizer, as plain data within limits.
import { WindlassError } from '#runtime/api/errors.ts';
import type { StoredVocabulary } from '#runtime/api/stored-vocabulary.ts';
import type { TextTable } from '#runtime/api/text-table.ts';
import { openGguf } from './file.ts';
import type { GgufFile } from './file.ts';
import { MetadataReader } from './metadata.ts';

/** As many as a tokenizer.json may have. */
const maxTokens = 1 << 20;
const maxMerges = 1 << 21;

export interface GgufVocabulary extends StoredVocabulary {
  /** Control tokens that end an answer by their name, whatever the metadata says of them. */
  readonly endsOfTurn: readonly number[];
}

/** Names under which models end their turn (llama-vocab.cpp has the same list). */
const turnEnds: ReadonlySet<string> = new Set([
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<EOT>',
  '<|eom_id|>',
]);

/** What a file says about its tokenizer, where nothing else of it is wanted. Throws as `openGguf` and `ggufVocabulary` do. */
export async function storedVocabulary(path: string): Promise<StoredVocabulary> {
  const file = await openGguf(path);
  try {
    return ggufVocabulary(file);
  } finally {
    await file.close();
  }
}

/** Throws WL_MODEL_INVALID for a malformed key, WL_TOKENIZER_INVALID where the lists do not fit each other. */
export function ggufVocabulary(file: GgufFile): GgufVocabulary {
  const read = new MetadataReader(file);
  const own = (key: string) => `tokenizer.ggml.${key}`;
  const tokens = read.texts(own('tokens'), maxTokens);
  if (!tokens) throw read.fault(own('tokens'), 'the list of tokens');
  const fitting = <A extends Float32Array | Int32Array>(key: string, list: A | undefined): A | undefined => {
    if (!list || list.length === tokens.length) return list;
    const message = `${file.path}: ${own(key)} has ${list.length} items, there are ${tokens.length} tokens`;
    throw new WindlassError('WL_TOKENIZER_INVALID', message, { details: { file: file.path } });
  };
  const types = fitting('token_type', read.integers(own('token_type'), maxTokens)) ?? new Int32Array(tokens.length).fill(1);
  const optionalFlag = (key: string) => (read.has(own(key)) ? read.flag(own(key), false) : undefined);
  const id = (name: string) => read.tokenId(own(`${name}_token_id`));
  return {
    source: file.path,
    model: read.text(own('model')),
    pre: read.text(own('pre'), 'default'),
    tokens,
    types,
    scores: fitting('scores', read.floats(own('scores'), maxTokens)),
    merges: read.texts(own('merges'), maxMerges),
    bos: id('bos'),
    eos: id('eos'),
    unknown: id('unknown'),
    padding: id('padding'),
    addBos: optionalFlag('add_bos_token'),
    addEos: optionalFlag('add_eos_token'),
    addSpacePrefix: optionalFlag('add_space_prefix'),
    chatTemplate: read.optionalText('tokenizer.chat_template'),
    endsOfTurn: turnEndsOf(tokens, types),
  };
}

function turnEndsOf(tokens: TextTable, types: Int32Array): number[] {
  const ends: number[] = [];
  for (let id = 0; id < types.length; id += 1) if (types[id] === 3 && turnEnds.has(tokens.at(id)!)) ends.push(id);
  return ends;
}
