// Makes one manifest of what the ranks wrote. Refuses parts that do not belong together or leave a hole in a tensor.
import { WindlassError } from '#runtime/api/errors.ts';
import { elementsOf } from './box.ts';
import { corrupt } from './manifest.ts';
import type { Manifest, Part, StoredTensor } from './manifest.ts';
import { ChunkIndex } from './read-plan.ts';

/** Throws WL_CHECKPOINT_CORRUPT, naming the file of the part that is not of this save, and WL_INTERNAL if the ranks wrote too little or too much. */
export function mergeParts(parts: readonly Part[], configDigest: string, fileOf: (rank: number) => string): Manifest {
  const [first] = parts;
  if (!first) throw new WindlassError('WL_INTERNAL', 'a checkpoint without parts');
  const manifest: Manifest = {
    format: 'windlass-checkpoint',
    version: 1,
    configDigest,
    layout: { worldSize: parts.length },
    state: first.state,
    tensors: {},
    files: {},
  };
  for (const [rank, part] of parts.entries()) {
    const { layout, state } = part;
    if (part.rank !== rank || layout.worldSize !== parts.length) {
      throw corrupt(fileOf(rank), `is of rank ${part.rank} of ${layout.worldSize} instead of ${rank} of ${parts.length}`);
    }
    if (JSON.stringify(state) !== JSON.stringify(first.state)) {
      throw corrupt(fileOf(rank), `is of step ${state.step} or of another state than that of rank 0 (step ${first.state.step})`);
    }
    Object.assign(manifest.files, part.files);
    for (const [name, tensor] of Object.entries(part.tensors)) addTensor(manifest.tensors, name, tensor, fileOf(rank));
  }
  for (const [name, tensor] of Object.entries(manifest.tensors)) checkCover(name, tensor);
  return manifest;
}

function addTensor(tensors: Manifest['tensors'], name: string, { shape, chunks, dtype }: StoredTensor, file: string): void {
  const known = (tensors[name] ??= { shape, dtype, chunks: [] });
  if (known.shape.join() !== shape.join()) {
    throw corrupt(file, `has ${name} as [${shape.join(', ')}], a rank before has it as [${known.shape.join(', ')}]`);
  }
  known.chunks.push(...chunks);
}

/** Each element exactly once. */
function checkCover(name: string, { shape, chunks }: StoredTensor): void {
  const index = new ChunkIndex(chunks);
  const held = chunks.reduce((sum, { sizes }) => sum + elementsOf(sizes), 0);
  const twice = chunks.find((chunk) => [...index.within(chunk).take(2)].length > 1);
  if (held === elementsOf(shape) && !twice) return;
  const what = twice
    ? `those at [${twice.offsets.join(', ')}] are among them twice`
    : `${held} of ${elementsOf(shape)} elements are there`;
  throw new WindlassError('WL_INTERNAL', `the ranks did not write ${name} once: ${what}`);
}
