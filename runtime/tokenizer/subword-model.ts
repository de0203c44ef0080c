// What turns the text between added tokens into ids: byte-level BPE or SentencePiece.

export interface SubwordModel {
  /** Highest id + 1. */
  readonly size: number;
  /** Appends the ids of a text. `isFirst`: nothing stands before it, or an added token. */
  encode(text: string, isFirst: boolean, ids: number[]): void;
  /** What encoding does to a text first, so that added tokens are looked for in the same text. */
  normalize(text: string): string;
  /** Bytes of a token; undefined for an id that is none. */
  token(id: number): Uint8Array | undefined;
  /** Id of a token given as its text. */
  tokenId(text: string): number | undefined;
}
