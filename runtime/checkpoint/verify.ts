// Looks at a checkpoint from outside of a training: is it whole, and what is in it.
import { elementsOf, wholeBox } from './box.ts';
import type { Box } from './box.ts';
import { localDisk } from './disk.ts';
import type { Disk } from './disk.ts';
import type { Manifest } from './manifest.ts';
import { CheckpointReader } from './reader.ts';
import { Target } from './target.ts';

/** Reads the manifest and every stored byte. Throws WL_CHECKPOINT_CORRUPT naming the file; a single flipped bit is found. */
export async function verifyCheckpoint(path: string, disk: Disk = localDisk): Promise<Manifest> {
  const reader = await CheckpointReader.open(disk, path);
  await reader.read(reader.planAll());
  return reader.manifest;
}

/** Any part of a stored tensor, by its name in the manifest, whatever boxes it was saved in. Throws WL_CHECKPOINT_CORRUPT if it is not whole. */
export async function readTensor(path: string, tensor: string, wanted?: Box, disk: Disk = localDisk): Promise<Float32Array> {
  const reader = await CheckpointReader.open(disk, path);
  const box = wanted ?? wholeBox(reader.manifest.tensors[tensor]?.shape ?? []);
  const values = new Float32Array(elementsOf(box.sizes));
  const target = new Target({ write: (part, offset) => values.set(part, offset) }, values.length);
  await reader.read(reader.plan(tensor, [{ box, begin: 0, end: values.length, target }]));
  return values;
}
