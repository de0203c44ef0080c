// Reads the documents of a data source in order, in parts small enough for any file size: a .txt file is one document, a .jsonl file one per line.
import { open } from 'node:fs/promises';
import { WindlassError } from '#runtime/api/errors.ts';
import type { TextPart } from '#runtime/tokenizer/main.ts';
import type { DataFile, DataSource } from './source.ts';
import { Utf8Error, Utf8Reader } from './utf8.ts';

export interface DocumentPart extends TextPart {
  /** Bytes of the source read so far. */
  readonly bytesRead: number;
}

/** Encoding a chunk must stay well under 20 ms, the longest that the event loop may be held up. */
const chunkBytes = 16 * 1024;
const maxLineBytes = 16 * 1024 * 1024;

/** Yields the parts of all documents. Throws WL_DATA_INVALID naming file and line, or the byte that is not UTF-8. */
export async function* readDocuments(source: DataSource): AsyncGenerator<DocumentPart> {
  let before = 0;
  for (const file of source.files) {
    const parts = file.kind === 'text' ? readText(file) : readLines(file, source.field);
    for await (const part of parts) yield { ...part, bytesRead: before + part.bytesRead };
    before += file.bytes;
  }
}

function invalid(file: DataFile, message: string, details: { line?: number; offset?: number }, cause?: unknown): never {
  const place = details.line === undefined ? file.path : `${file.path}:${details.line}`;
  throw new WindlassError('WL_DATA_INVALID', `${place}: ${message}`, { cause, details: { file: file.path, ...details } });
}

/** The bytes of a file; each chunk is valid until the next one is asked for. */
async function* readChunks(file: DataFile): AsyncGenerator<Buffer> {
  const handle = await open(file.path);
  try {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, chunkBytes);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function* readText(file: DataFile): AsyncGenerator<DocumentPart> {
  const reader = new Utf8Reader();
  let bytesRead = 0;
  let anything = false;
  try {
    for await (const chunk of readChunks(file)) {
      bytesRead += chunk.length;
      const text = reader.push(chunk);
      anything ||= text !== '';
      yield { text, last: false, bytesRead };
    }
    // Checks that the last character is whole.
    const text = reader.end();
    if (anything) yield { text, last: true, bytesRead };
  } catch (error) {
    if (error instanceof Utf8Error) invalid(file, error.message, { offset: error.offset }, error);
    throw error;
  }
}

async function* readLines(file: DataFile, field: string): AsyncGenerator<DocumentPart> {
  let line = 0;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let bytesRead = 0;
  for await (const chunk of readChunks(file)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      pending.push(chunk.subarray(start, end));
      line++;
      yield* splitText(textOfLine(Buffer.concat(pending), file, field, line), bytesRead + end + 1);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
    }
    bytesRead += chunk.length;
    pendingBytes += chunk.length - start;
    if (pendingBytes > maxLineBytes) invalid(file, `the line is longer than ${maxLineBytes} bytes`, { line: line + 1 });
    pending.push(Buffer.from(chunk.subarray(start)));
  }
  yield* splitText(textOfLine(Buffer.concat(pending), file, field, line + 1), bytesRead);
}

function* splitText(text: string, bytesRead: number): Generator<DocumentPart> {
  for (let at = 0; at < text.length; at += chunkBytes) {
    yield { text: text.slice(at, at + chunkBytes), last: at + chunkBytes >= text.length, bytesRead };
  }
}

/** The text of a record; empty for a blank line. */
function textOfLine(bytes: Buffer, file: DataFile, field: string, line: number): string {
  let source: string;
  try {
    const reader = new Utf8Reader();
    source = reader.push(bytes) + reader.end();
  } catch (error) {
    invalid(file, error instanceof Error ? `in this line ${error.message}` : String(error), { line }, error);
  }
  if (source.trim() === '') return '';
  let record: unknown;
  try {
    record = JSON.parse(source);
  } catch (error) {
    invalid(file, `not JSON: ${error instanceof Error ? error.message : String(error)}`, { line }, error);
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record))
    invalid(file, 'the record is not an object', { line });
  const text: unknown = Object.hasOwn(record, field) ? (record as Record<string, unknown>)[field] : undefined;
  if (text === undefined) {
    invalid(file, `the record has no field "${field}"; it has ${Object.keys(record).slice(0, 10).join(', ') || 'none'}`, {
      line,
    });
  }
  if (typeof text !== 'string') invalid(file, `the field "${field}" is not a string`, { line });
  return text;
}
