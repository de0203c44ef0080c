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
});
export type TrainingState = z.output<typeof TrainingState>;

export const Manifest = z.object({
  format: z.literal('windlass-checkpoint'),
  version: z.literal(1),
  /** sha256 of what must not change between save and load: model, data, tokenizer, task. */
  configDigest: z.string(),
  layout: z.object({ worldSize: z.int().min(1) }),
  state: TrainingState,
  tensors: z.record(z.string(), StoredTensor),
  /** Each file's length and the CRC-32 of the bytes before its tensor data. */
  files: z.record(z.string(), z.object({ bytes: z.int().min(0), headerBytes: z.int().min(0), headerCrc32: z.int().min(0) })),
});
export type Manifest = z.output<typeof Manifest>;

/** A manifest larger than this is refused before it is read. */
export const maxManifestBytes = 256 << 20;

const opening = '{"sha256":"';
const middle = '","manifest":';

/** JSON text that carries the checksum of its own body. */
export function sealManifest(manifest: Manifest): string {
  const body = JSON.stringify(manifest);
  return `${opening}${sha256(body)}${middle}${body}}\n`;
}

/** The manifest in `text`. Throws WL_CHECKPOINT_CORRUPT when a single bit differs from what was sealed. */
export function openManifest(text: string, file: string): Manifest {
  const bodyStart = opening.length + 64 + middle.length;
  const checksum = text.slice(opening.length, opening.length + 64);
  const body = text.slice(bodyStart, -2);
  if (text !== `${opening}${checksum}${middle}${body}}\n` || sha256(body) !== checksum) {
    throw new WindlassError('WL_CHECKPOINT_CORRUPT', `${file} does not match its own checksum`, { details: { file } });
  }
  const parsed = Manifest.safeParse(JSON.parse(body));
  if (parsed.success) return parsed.data;
  const fault = parsed.error.issues[0];
  throw new WindlassError(
    'WL_CHECKPOINT_CORRUPT',
    `${file} is not a checkpoint manifest of this version: ${fault?.path.join('.')}: ${fault?.message}`,
    {
      details: { file },
    },
  );
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
