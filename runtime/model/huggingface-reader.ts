// Opens a model folder in Hugging Face layout: every tensor in it is accounted for, or the folder is refused.
import { access, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { familyOf, parseHuggingFaceConfig } from './families/families.ts';
import type { FileTensor } from './families/family.ts';
import { gatherTurns, transpose } from './layout.ts';
import { parameterSpecs } from './parameters.ts';
import { openSafetensors } from './safetensors-file.ts';
import type { SafetensorsFile } from './safetensors-file.ts';
import type { FilePlace, WeightSource } from './weight-source.ts';

/** Far above any real config.json or index; the limit keeps a wrong file from filling the memory. */
const maxJsonBytes = 64 << 20;
const maxShards = 10_000;

export interface HuggingFaceFolder extends WeightSource {
  close(): Promise<void>;
}

/** Opens `folder` (config.json, model.safetensors or its sharded form). Throws WL_FILE_MISSING, WL_MODEL_INVALID, WL_SAFETENSORS_INVALID. */
export async function openHuggingFace(folder: string): Promise<HuggingFaceFolder> {
  const configFile = join(folder, 'config.json');
  const config = parseHuggingFaceConfig(await readJson(configFile), configFile);
  const files: SafetensorsFile[] = [];
  try {
    for (const path of await weightFiles(folder)) files.push(await openSafetensors(path));
    const family = familyOf(config);
    const found = locate(files, (name) => family.canonicalName(name), folder);
    const wanted = nearest(found, [family.fileTensors(config), ...(family.alternativeTensors?.(config) ?? [])]);
    await settleTiedHead(found, config.tieEmbeddings, wanted, folder);
    account(found, wanted, folder);
    return {
      config,
      read: parameterReader(found, wanted, new Map(parameterSpecs(config).map(({ name, shape }) => [name, shape]))),
      placeOf: parameterPlaces(found, wanted),
      close: async () => void (await Promise.all(files.map((file) => file.close()))),
    };
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
}

/** Of the ways to hold the parameters the one of which the folder lacks the least; the first one among equals. */
function nearest(found: ReadonlyMap<string, unknown>, ways: readonly (readonly FileTensor[])[]): readonly FileTensor[] {
  const lacking = (way: readonly FileTensor[]) => way.filter(({ name }) => !found.has(name)).length;
  return ways.reduce((best, way) => (lacking(way) < lacking(best) ? way : best));
}

type Located = { readonly file: SafetensorsFile; readonly name: string };

/** Tensors by the name that the family gives them. */
function locate(
  files: readonly SafetensorsFile[],
  canonicalName: (name: string) => string | undefined,
  folder: string,
): Map<string, Located> {
  const found = new Map<string, Located>();
  for (const file of files) {
    for (const name of file.tensors.keys()) {
      const canonical = canonicalName(name);
      if (canonical === undefined) continue;
      const other = found.get(canonical);
      if (other)
        throw refused(
          folder,
          `${canonical} stands in it twice: as ${other.name} of ${basename(other.file.path)} and ${name} of ${basename(file.path)}`,
        );
      found.set(canonical, { file, name });
    }
  }
  return found;
}

/** A tied head may be stored as well, if it is the embedding. */
async function settleTiedHead(
  found: Map<string, Located>,
  isTied: boolean,
  wanted: readonly FileTensor[],
  folder: string,
): Promise<void> {
  const head = found.get('lm_head.weight');
  if (!head || !isTied) return;
  const embedding = wanted.find(({ parameters }) => parameters[0] === 'embedding.tokens');
  const tokens = embedding && found.get(embedding.name);
  if (!tokens) return;
  const [a, b] = [await head.file.read(head.name), await tokens.file.read(tokens.name)];
  const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  if (!bytes(a).equals(bytes(b)))
    throw refused(folder, `tie_word_embeddings is true, but lm_head.weight differs from ${tokens.name}`);
  found.delete('lm_head.weight');
}

function account(found: ReadonlyMap<string, Located>, wanted: readonly FileTensor[], folder: string): void {
  const names = new Set(wanted.map(({ name }) => name));
  const missing = [...names].filter((name) => !found.has(name));
  const leftOver = [...found.entries()].filter(([name]) => !names.has(name)).map(([, { name }]) => name);
  const faults = [
    ...(missing.length > 0 ? [`it lacks ${list(missing)}`] : []),
    ...(leftOver.length > 0 ? [`no place in the model is for ${list(leftOver)}`] : []),
  ];
  if (faults.length > 0) throw refused(folder, faults.join('; '), { missing, leftOver });
  for (const { name, shape } of wanted) {
    const at = found.get(name);
    const stored = at?.file.tensors.get(at.name);
    if (stored && stored.shape.join() !== shape.join()) {
      throw refused(folder, `${stored.name} has shape [${stored.shape.join(', ')}], config.json asks for [${shape.join(', ')}]`);
    }
  }
}

/** Reads parameters; the file tensor read last is kept, as neighbouring parameters often share one. */
function parameterReader(
  found: ReadonlyMap<string, Located>,
  wanted: readonly FileTensor[],
  shapes: ReadonlyMap<string, readonly number[]>,
): (parameter: string) => Promise<Float32Array> {
  const homes = new Map(wanted.flatMap((tensor) => tensor.parameters.map((parameter) => [parameter, tensor] as const)));
  let last: { readonly tensor: FileTensor; readonly values: Float32Array } | undefined;
  return async (parameter) => {
    const tensor = homes.get(parameter);
    const at = tensor && found.get(tensor.name);
    if (!at) throw new Error(`internal: no parameter ${parameter}`);
    if (last?.tensor !== tensor) {
      const values = await at.file.read(at.name);
      const [rows = 0, columns = 0] = tensor.shape;
      const rowsInOrder = tensor.turn === undefined ? values : gatherTurns(values, tensor, tensor.turn);
      last = { tensor, values: tensor.transposed ? await transpose(values, rows, columns) : rowsInOrder };
    }
    const sizes = tensor.parameters.map((name) => (shapes.get(name) ?? []).reduce((size, dim) => size * dim, 1));
    const index = tensor.parameters.indexOf(parameter);
    const begin = sizes.slice(0, index).reduce((sum, size) => sum + size, 0);
    return last.values.subarray(begin, begin + (sizes[index] ?? 0));
  };
}

/** Where parameters lie whole, as they are and in f32. */
function parameterPlaces(
  found: ReadonlyMap<string, Located>,
  wanted: readonly FileTensor[],
): (parameter: string) => FilePlace | undefined {
  const plain = wanted.filter((tensor) => tensor.parameters.length === 1 && !tensor.transposed && tensor.turn === undefined);
  const homes = new Map(plain.map(({ parameters: [parameter = ''], name, shape }) => [parameter, { name, shape }]));
  return (parameter) => {
    const home = homes.get(parameter);
    const at = home && found.get(home.name);
    const place = at?.file.place(at.name);
    return place && { type: 'F32', rows: home?.shape[0] ?? 1, ...place };
  };
}

/** Paths of the safetensors files of a folder: one file, or those that the index names. */
async function weightFiles(folder: string): Promise<string[]> {
  const single = join(folder, 'model.safetensors');
  if (await exists(single)) return [single];
  const indexFile = join(folder, 'model.safetensors.index.json');
  if (!(await exists(indexFile))) {
    throw new WindlassError('WL_FILE_MISSING', `${folder}: it holds neither model.safetensors nor model.safetensors.index.json`, {
      details: { path: folder },
    });
  }
  const index = (await readJson(indexFile)) as { weight_map?: unknown } | null;
  const map = index?.weight_map;
  if (typeof map !== 'object' || map === null) throw refused(indexFile, 'weight_map is not an object');
  const names = new Set<string>();
  for (const name of Object.values(map)) {
    if (typeof name !== 'string' || !/^[\w.-]+\.safetensors$/.test(name)) {
      throw refused(indexFile, `${JSON.stringify(name)} is not the name of a safetensors file in the folder`);
    }
    names.add(name);
  }
  if (names.size > maxShards) throw refused(indexFile, `it names ${names.size} files, more than ${maxShards}`);
  return [...names].sort().map((name) => join(folder, name));
}

async function readJson(path: string): Promise<unknown> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw toWindlassError(error);
  });
  try {
    const { size } = await handle.stat();
    if (size > maxJsonBytes) throw refused(path, `its ${size} bytes exceed ${maxJsonBytes}`);
    return JSON.parse(await handle.readFile('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw refused(path, `it is not JSON (${error.message})`);
    throw error;
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

function list(names: readonly string[]): string {
  return names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ');
}

function refused(path: string, what: string, details: Record<string, unknown> = {}): WindlassError {
  return new WindlassError('WL_MODEL_INVALID', `${path}: ${what}`, { details: { file: path, ...details } });
}
