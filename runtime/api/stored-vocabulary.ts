// What a model file says about its tokenizer, as plain data: readers of model files give it, tokenizers are made of it.
import type { TextTable } from './text-table.ts';

export interface StoredVocabulary {
  /** The file it stands in. */
  readonly source: string;
  /** `gpt2`: byte-level BPE; `llama`: SentencePiece. */
  readonly model: string;
  /** llama.cpp's name of the way text is cut into words before merging. */
  readonly pre: string;
  readonly tokens: TextTable;
  /** Of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 a byte. */
  readonly types: Int32Array;
  readonly scores: Float32Array | undefined;
  /** Pairs of tokens with a space between, by rank. */
  readonly merges: TextTable | undefined;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly unknown: number | undefined;
  readonly padding: number | undefined;
  readonly addBos: boolean | undefined;
  readonly addEos: boolean | undefined;
  readonly addSpacePrefix: boolean | undefined;
  readonly chatTemplate: string | undefined;
}
