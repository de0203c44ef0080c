// Files of packed weights: written once and whole, checked in full before they are used, and mapped by every process that serves the model.
import { open, rm, link, stat } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { MappedFile, QuantizedWeight, detachedParameter, digest, setQuantized } from '#runtime/tensor/main.ts';
import type { Device, Parameter, Tensor } from '#runtime/tensor/main.ts';
import type { ModelConfig } from '../config.ts';
import { Model } from '../model.ts';
import { packedFileBytes, packedHeadBytes } from './layout.ts';
import type { PackedTensor } from './layout.ts';

/** What a file must be to be used. */
export interface PackedContent {
  /** Says of which model, packed for what. */
  readonly key: string;
  readonly config: ModelConfig;
  readonly layout: readonly PackedTensor[];
}

const magic = 'windlass packed weights';
const temporaryEnd = '.part';

interface Head {
  readonly magic: string;
  readonly key: string;
  readonly bytes: number;
  /** Of all tensors in their order; see `digest`. */
  readonly digest: number;
}

/**
 * The model in a file, over memory that it shares with everybody who maps it; undefined where there is none. Throws `PackedDamage` where the
 * file is not what it should be.
 */
export async function openPacked(path: string, content: PackedContent, device: Device): Promise<Model | undefined> {
  const head = await readHead(path, content);
  if (!head) return undefined;
  // By name: what was checked may have been replaced since, by a file as good.
  using file = new MappedFile(path);
  if (file.bytes !== head.bytes) throw new PackedDamage(`it has ${file.bytes} bytes, not ${head.bytes}`);
  const { model, tensors } = modelOver(file, content, device);
  try {
    const found = await digest(tensors);
    if (found !== head.digest) throw new PackedDamage(`its tensors have the digest ${found}, not ${head.digest}`);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Why a file can't be used. */
export class PackedDamage extends Error {}

/**
 * Writes the tensors of a model beside `path` and gives the file its name when all are there. Where another process was faster its file stays.
 * An error leaves nothing behind; what a kill leaves has another name and is removed by `removeUnfinished` of the folder's keeper.
 */
export async function writePacked(path: string, { key, layout }: PackedContent, model: Model): Promise<void> {
  const tensors = layout.map((place) => ({ place, tensor: tensorOf(model, place) }));
  const bytes = packedFileBytes(layout);
  const head: Head = { magic, key, bytes, digest: await digest(tensors.map(({ tensor }) => tensor)) };
  const temporary = `${path}.${randomUUID()}${temporaryEnd}`;
  try {
    const handle = await open(temporary, 'wx', 0o444);
    try {
      // Not synced to disk: what a crash leaves of it is found by its digest.
      await handle.write(Buffer.from(JSON.stringify(head).padEnd(packedHeadBytes)), 0, packedHeadBytes, 0);
      for (const { place, tensor } of tensors) await writeAll(handle, await bytesOf(tensor), place.offset);
    } finally {
      await handle.close();
    }
    await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Whether a file of this name is one that is being written, or was when its process was killed. */
export function isUnfinished(name: string): boolean {
  return name.endsWith(temporaryEnd);
}

async function readHead(path: string, { key, layout }: PackedContent): Promise<Head | undefined> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!handle) return undefined;
  try {
    const { size } = await handle.stat();
    const bytes = packedFileBytes(layout);
    if (size !== bytes) throw new PackedDamage(`it has ${size} bytes, not ${bytes}`);
    const text = Buffer.alloc(packedHeadBytes);
    await handle.read(text, 0, packedHeadBytes, 0);
    const head = parsed(text.toString('utf8'));
    if (head?.magic !== magic) throw new PackedDamage('its head is none of ours');
    if (head.key !== key || head.bytes !== bytes) throw new PackedDamage('it is of other weights');
    return head;
  } finally {
    await handle.close();
  }
}

function parsed(
  text: string,
): (Partial<Head> & Pick<Head, 'digest' | 'bytes'> & { readonly magic: string; readonly key: string }) | undefined {
  try {
    return JSON.parse(text) as Head;
  } catch {
    return undefined;
  }
}

/** A model whose weights lie in the file, and all tensors over it in the order of the layout. */
function modelOver(file: MappedFile, { config, layout }: PackedContent, device: Device): { model: Model; tensors: Tensor[] } {
  const places = Map.groupBy(layout, ({ parameter }) => parameter);
  const model = new Model(config, device, ({ name, shape }) => {
    const plain = places.get(name)?.find(({ role }) => role === 'plain');
    return plain ? file.parameter(device, plain, name) : detachedParameter(device, shape, name);
  });
  for (const [name, parameter] of model.parameters) {
    const tensor = (wanted: PackedTensor['role']) => {
      const place = places.get(name)?.find(({ role }) => role === wanted);
      return place && file.tensor(device, place, `${wanted} of ${name}`);
    };
    const type = places.get(name)?.[0]?.type;
    if (type === undefined) parameter.packed = tensor('packed');
    else setQuantized(parameter, new QuantizedWeight(type, tensor('panels'), tensor('blocks')));
  }
  return { model, tensors: layout.map((place) => tensorOf(model, place)) };
}

function tensorOf(model: Model, { parameter: name, role }: PackedTensor): Tensor {
  const parameter = model.parameters.get(name);
  const found = parameter && inRole(parameter, role);
  if (!found) throw new Error(`internal: ${name} has no tensor that is ${role}`);
  return found;
}

function inRole(parameter: Parameter, role: PackedTensor['role']): Tensor | undefined {
  if (role === 'plain') return parameter;
  return role === 'packed' ? parameter.packed : parameter.quantized?.[role];
}

async function bytesOf(tensor: Tensor): Promise<Uint8Array> {
  if (tensor.dtype === 'u8') return await tensor.readBytes();
  const values = await tensor.read();
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

type FileToWrite = Awaited<ReturnType<typeof open>>;

async function writeAll(handle: FileToWrite, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
  }
}

/** Identity of a file as the system knows it: another one where its content was changed. */
export async function fileIdentity(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}
