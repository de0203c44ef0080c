// The manifest of a checkpoint: which tensor lies where, with checksums, and all state that is not a tensor. Written last.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';

const Sizes = z.array(z.int().min(0)).max(8);

/** One stored part of a tensor: its box, and the byte range of its data in `file`. */
const Chunk = z.object({
  offsets: Sizes,
  sizes: Sizes,
  file: z.string().regex(/^[a-z0-9.-]+$/),
  begin: z.int().min(0),
  end: z.int().min(0),
  /** CRC-32 of the byte range. */
  crc32: z.int().min(0),
});
export type Chunk = z.output<typeof Chunk>;

const StoredTensor = z.object({ shape: Sizes, dtype: z.literal('F32'), chunks: z.array(Chunk).min(1) });
export type StoredTensor = z.output<typeof StoredTensor>;

/** Everything of a training state that is not a tensor. Random numbers are counter-based, so `seed` and `step` are the whole random state. */
export const TrainingState = z.object({
  step: z.int().min(0),
  seed: z.int(),
  /** Sequences drawn so far: the sampler's position. */
  sequences: z.int().min(0),
  tokens: z.int().min(0),
  /** Held-out loss: the best so far, and how many evaluations ago it was. */
  bestHeldOutLoss: z.number().optional(),
  evaluationsSinceBest: z.int().min(0),
  lastHeldOutLoss: z.number().optional(),
  /** Training loss of `step`. */
  lastLoss: z.number().optional(),
  /** Running mean of the gradient norms, for the watch on spikes. */
  gradientNormMean: z.number().optional(),
});
export type TrainingState = z.output<typeof TrainingState>;

/** A file's length and the CRC-32 of the bytes before its tensor data. */
const FileFacts = z.object({ bytes: z.int().min(0), headerBytes: z.int().min(0), headerCrc32: z.int().min(0) });
export type FileFacts = z.output<typeof FileFacts>;

export const Manifest = z.object({
  format: z.literal('windlass-checkpoint'),
  version: z.literal(1),
  /** sha256 of what must not change between save and load: model, data, tokenizer, task. */
  configDigest: z.string(),
  layout: z.object({ worldSize: z.int().min(1) }),
  state: TrainingState,
  tensors: z.record(z.string(), StoredTensor),
  files: z.record(z.string(), FileFacts),
});
export type Manifest = z.output<typeof Manifest>;

/** What one rank adds to the manifest; a file of its own beside the chunk files until the manifest is written. */
export const Part = z.object({
  rank: z.int().min(0),
  layout: z.object({ worldSize: z.int().min(1) }),
  state: TrainingState,
  /** All that the rank holds, with the chunks that it wrote. */
  tensors: z.record(z.string(), StoredTensor.extend({ chunks: z.array(Chunk) })),
  files: z.record(z.string(), FileFacts),
});
export type Part = z.output<typeof Part>;

/** A manifest larger than this is refused before it is read. */
export const maxManifestBytes = 256 << 20;

const opening = '{"sha256":"';
const middle = '","manifest":';

/** JSON text that carries the checksum of its own body. */
export function seal(body: Manifest | Part): string {
  const text = JSON.stringify(body);
  return `${opening}${sha256(text)}${middle}${text}}\n`;
}

/** What was sealed in `text`. Throws WL_CHECKPOINT_CORRUPT when a single bit differs from it. */
export function unseal<S extends typeof Manifest | typeof Part>(schema: S, text: string, file: string): z.output<S> {
  const bodyStart = opening.length + 64 + middle.length;
  const checksum = text.slice(opening.length, opening.length + 64);
  const body = text.slice(bodyStart, -2);
  if (text !== `${opening}${checksum}${middle}${body}}\n` || sha256(body) !== checksum) {
    throw corrupt(file, 'does not match its own checksum');
  }
  const parsed = schema.safeParse(JSON.parse(body));
  if (parsed.success) return parsed.data as z.output<S>;
  const fault = parsed.error.issues[0];
  throw corrupt(file, `is not of this version: ${fault?.path.join('.')}: ${fault?.message}`);
}

/** An error that names the damaged file. */
export function corrupt(file: string, what: string, cause?: unknown): WindlassError {
  return new WindlassError('WL_CHECKPOINT_CORRUPT', `${file} ${what}`, { cause, details: { file } });
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
