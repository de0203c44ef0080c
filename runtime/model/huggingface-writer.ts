// Writes a model folder in Hugging Face layout: config.json, generation_config.json, safetensors (sharded where large), and files given along.
import { copyFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { familyOf, huggingFaceConfig, tokenIdKeys } from './families/families.ts';
import type { FileTensor } from './families/family.ts';
import { writeFolder } from './folder.ts';
import { concatenate, takeTurns, transpose } from './layout.ts';
import { writeSafetensors } from './safetensors-file.ts';
import type { TensorToWrite } from './safetensors-file.ts';
import type { WeightSource } from './weight-source.ts';

/** A file to stand beside the weights: its content, or the path of a file to copy. */
type ExtraFile = { readonly name: string; readonly content: string | Uint8Array } | { readonly path: string };

export interface WriteOptions {
  /** The tokenizer's files. */
  readonly files?: readonly ExtraFile[];
  /** Largest safetensors file; more goes into shards. 5 GB as transformers has it. */
  readonly maxShardBytes?: number;
}

const defaultShardBytes = 5_000_000_000;

/** Writes `folder`, which appears when all of it is durable. The same weights give the same bytes. Throws WL_FILE_EXISTS, WL_DISK_FULL, WL_IO. */
export async function writeHuggingFace(source: WeightSource, folder: string, options: WriteOptions = {}): Promise<void> {
  const tensors = familyOf(source.config)
    .fileTensors(source.config)
    .map((tensor) => toWrite(source, tensor));
  const shards = shard(tensors, options.maxShardBytes ?? defaultShardBytes);
  await writeFolder(folder, async (temporary) => {
    await writeFile(join(temporary, 'config.json'), json(huggingFaceConfig(source.config)));
    await writeFile(join(temporary, 'generation_config.json'), json(tokenIdKeys(source.config)));
    for (const file of options.files ?? []) {
      if ('path' in file) await copyFile(file.path, join(temporary, basename(file.path)));
      else await writeFile(join(temporary, file.name), file.content);
    }
    for (const [name, members] of shards) await writeSafetensors(join(temporary, name), members, { format: 'pt' });
    if (shards.size > 1) await writeFile(join(temporary, 'model.safetensors.index.json'), json(indexOf(shards)));
  });
}

function toWrite(source: WeightSource, tensor: FileTensor): TensorToWrite {
  return {
    name: tensor.name,
    shape: tensor.shape,
    async values() {
      const parts: Float32Array[] = [];
      for (const parameter of tensor.parameters) parts.push(await source.read(parameter));
      const [rows = 0, columns = 0] = tensor.shape;
      const values = concatenate(parts);
      if (tensor.turn !== undefined) return takeTurns(values, tensor, tensor.turn);
      return tensor.transposed ? await transpose(values, columns, rows) : values;
    },
  };
}

/** Fills files with tensors in order of their names, each as long as it stays below the limit. */
function shard(tensors: readonly TensorToWrite[], maxBytes: number): Map<string, TensorToWrite[]> {
  const groups: TensorToWrite[][] = [];
  let room = 0;
  for (const tensor of [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const bytes = bytesOf(tensor);
    if (groups.length === 0 || bytes > room) {
      groups.push([]);
      room = maxBytes;
    }
    groups.at(-1)?.push(tensor);
    room -= bytes;
  }
  if (groups.length === 1) return new Map([['model.safetensors', groups[0] ?? []]]);
  const number = (index: number) => String(index).padStart(5, '0');
  return new Map(groups.map((group, index) => [`model-${number(index + 1)}-of-${number(groups.length)}.safetensors`, group]));
}

function indexOf(shards: ReadonlyMap<string, readonly TensorToWrite[]>): unknown {
  const places = [...shards].flatMap(([file, tensors]) => tensors.map((tensor) => [tensor.name, file] as const));
  const total = [...shards.values()].flat().reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  return { metadata: { total_size: total }, weight_map: Object.fromEntries(places) };
}

function bytesOf({ shape }: TensorToWrite): number {
  return shape.reduce((bytes, dim) => bytes * dim, 4);
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
