// The byte alphabet of byte-level BPE: each of the 256 bytes has one printable character that stands for it in tokenizer.json.

const printable: readonly (readonly [number, number])[] = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
];

function buildAlphabet(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable.some(([first, last]) => byte >= first && byte <= last) ? byte : next++),
  );
}

/** Character that stands for each byte (the table of GPT-2). */
export const byteCharacters: readonly string[] = buildAlphabet();

const characterBytes = new Map(byteCharacters.map((character, byte) => [character, byte]));

/** Writes bytes as the characters that stand for them. */
export function bytesToCharacters(bytes: Uint8Array, length = bytes.length): string {
  let text = '';
  for (let i = 0; i < length; i++) text += byteCharacters[bytes[i]!];
  return text;
}

/** Reads such characters back as bytes; undefined if one stands for no byte. */
export function charactersToBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = characterBytes.get(text[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
