// Opens a model in one GGUF file: every tensor in it is accounted for, or the file is refused.
import { WindlassError } from '#runtime/api/errors.ts';
import type { StoredRows, WeightSource } from '../weight-source.ts';
import { openGguf, rowsOf } from './file.ts';
import type { GgufFile } from './file.ts';
import type { StoredTensor } from './header.ts';
import { ggufLayout, turnRows } from './layout.ts';
import type { GgufLayoutTensor } from './layout.ts';
import { ggufModelConfig } from './model-config.ts';
import type { GgufDescription } from './save-model.ts';
import { ggufVocabulary } from './vocabulary.ts';
import type { GgufTensorType } from './tensor-types.ts';
import type { GgufVocabulary } from './vocabulary.ts';
import type { GgufValue } from './writer.ts';

export interface GgufModel extends WeightSource {
  readonly vocabulary: GgufVocabulary;
  /** For another file with the same weights in another type. */
  readonly description: GgufDescription;
  typeOf(parameter: string): GgufTensorType;
  stored(parameter: string): Promise<StoredRows>;
  close(): Promise<void>;
}

/** Opens the model of a file. Throws WL_FILE_MISSING, WL_GGUF_INVALID, WL_MODEL_INVALID, WL_TOKENIZER_INVALID. */
export async function openGgufModel(path: string): Promise<GgufModel> {
  const file = await openGguf(path);
  try {
    const { config, turned } = ggufModelConfig(file);
    const vocabulary = ggufVocabulary(file);
    const layout = ggufLayout(config, turned);
    account(file, layout);
    const homes = parameterHomes(file, layout);
    const home = (parameter: string) => {
      const found = homes.get(parameter);
      if (!found) throw new Error(`internal: no parameter ${parameter}`);
      return found;
    };
    return {
      config: { ...config, eosTokenIds: [...new Set([...config.eosTokenIds, ...vocabulary.endsOfTurn])] },
      vocabulary,
      description: { metadata: copyMetadata(file), turned },
      async read(parameter) {
        const { tensor, rows, turnedHeads } = home(parameter);
        const values = await file.read(tensor, rows);
        return turnedHeads === 0 ? values : turnRows(values, turnedHeads, config.headSize, true);
      },
      typeOf: (parameter) => home(parameter).tensor.type,
      async stored(parameter) {
        const { tensor, rows, turnedHeads } = home(parameter);
        const bytes = await file.blocks(tensor, rows);
        return {
          type: tensor.type,
          rows: rows.end - rows.begin,
          bytes: turnedHeads === 0 ? bytes : turnRows(bytes, turnedHeads, config.headSize, true),
        };
      },
      placeOf(parameter) {
        const { tensor, rows, turnedHeads } = home(parameter);
        if (turnedHeads > 0) return undefined;
        return { type: tensor.type, rows: rows.end - rows.begin, ...file.place(tensor, rows) };
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** All metadata as it stands, but what concerns the layout of this file. */
function copyMetadata({ head, metadata }: GgufFile): Map<string, GgufValue> {
  const copied = [...metadata].filter(([key]) => key !== 'general.alignment');
  return new Map(copied.map(([key, { place }]) => [key, { type: 'copy', bytes: head.subarray(place.begin, place.end) }]));
}

function account(file: GgufFile, layout: readonly GgufLayoutTensor[]): void {
  const wanted = new Map(layout.map((tensor) => [tensor.name, tensor]));
  const missing = [...wanted.keys()].filter((name) => !file.tensors.has(name));
  const leftOver = [...file.tensors.keys()].filter((name) => !wanted.has(name));
  const faults = [
    ...(missing.length > 0 ? [`it lacks ${list(missing)}`] : []),
    ...(leftOver.length > 0 ? [`no place in the model is for ${list(leftOver)}`] : []),
  ];
  const refused = (what: string) =>
    new WindlassError('WL_MODEL_INVALID', `${file.path}: ${what}`, { details: { file: file.path, missing, leftOver } });
  if (faults.length > 0) throw refused(faults.join('; '));
  for (const { name, shape } of layout) {
    const stored = file.tensors.get(name);
    if (stored && stored.shape.join() !== shape.join())
      throw refused(`${name} has shape [${stored.shape.join(', ')}], its metadata asks for [${shape.join(', ')}]`);
  }
}

interface Home {
  readonly tensor: StoredTensor;
  readonly rows: { readonly begin: number; readonly end: number };
  readonly turnedHeads: number;
}

/** Where each parameter lies. */
function parameterHomes(file: GgufFile, layout: readonly GgufLayoutTensor[]): Map<string, Home> {
  const homes = new Map<string, Home>();
  for (const { name, parameters, turnedHeads } of layout) {
    const tensor = file.tensors.get(name);
    if (!tensor) continue;
    const isWhole = parameters.length === 1;
    let begin = 0;
    for (const parameter of parameters) {
      const end = isWhole ? rowsOf(tensor) : begin + parameter.rows;
      homes.set(parameter.name, { tensor, rows: { begin, end }, turnedHeads });
      begin = end;
    }
  }
  return homes;
}

function list(names: readonly string[]): string {
  return names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ');
}
