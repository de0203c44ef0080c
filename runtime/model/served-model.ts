// Models that only serve: matrices that a source keeps in blocks stay in blocks on the device, and are multiplied with as they are.
import {
  detachedParameter,
  emptyBytes,
  emptyParameter,
  packQuantized,
  quantizedTable,
  quantTypes,
  scope,
  setQuantized,
} from '#runtime/tensor/main.ts';
import type { Device, Parameter, QuantType, Tensor } from '#runtime/tensor/main.ts';
import type { ModelConfig, ParameterSpec } from './config.ts';
import { fillAll, readPlace } from './fill.ts';
import { modelFrom } from './huggingface.ts';
import { Model } from './model.ts';
import { parameterSpecs } from './parameters.ts';
import type { WeightSource } from './weight-source.ts';

/** A model on `device` with the values of `source`, in the types in which the source keeps them. It can't be trained or saved. */
export async function servedModelFrom(source: WeightSource, device: Device): Promise<Model> {
  const { config } = source;
  const { stored } = source;
  if (!source.typeOf || !stored) return await modelFrom(source, device);
  const types = new Map(parameterSpecs(config).map((spec) => [spec.name, quantTypeOf(source, spec)]));
  const model = new Model(config, device, ({ name, shape }) =>
    types.get(name) === undefined ? emptyParameter(device, shape, name) : detachedParameter(device, shape, name),
  );
  try {
    const plain = new Map<string, Parameter>();
    const kept: Kept[] = [];
    for (const [name, parameter] of model.parameters) {
      const type = types.get(name);
      if (type === undefined) plain.set(name, parameter);
      else kept.push({ name, parameter, type, use: useOf({ name, shape: parameter.shape }, config) });
    }
    await Promise.all([fillAll(plain, source), keepAll(kept, { ...source, stored })]);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** The type that a parameter keeps; undefined where it is, or becomes, f32. */
export function quantTypeOf(source: Pick<WeightSource, 'typeOf'>, { name, shape }: ParameterSpec): QuantType | undefined {
  const type = source.typeOf?.(name);
  const isMatrix = shape.length === 2 && name !== 'embedding.positions';
  return isMatrix && type !== undefined && type !== 'F32' && Object.hasOwn(quantTypes, type) ? type : undefined;
}

/** What is done with a parameter. */
interface Use {
  readonly isMultiplied: boolean;
  readonly isLookedUp: boolean;
}

export function useOf({ name, shape }: Pick<ParameterSpec, 'name' | 'shape'>, { tieEmbeddings }: ModelConfig): Use {
  const isLookedUp = name === 'embedding.tokens';
  const isMatrix = shape.length === 2 && name !== 'embedding.positions';
  return { isMultiplied: isMatrix && (!isLookedUp || tieEmbeddings), isLookedUp };
}

interface Kept {
  readonly name: string;
  readonly parameter: Parameter;
  readonly type: QuantType;
  readonly use: Use;
}

/** First all that the device reads by itself, so that it has work while the rest is put in order here. */
async function keepAll(
  kept: readonly Kept[],
  source: Pick<WeightSource, 'placeOf'> & Pick<Required<WeightSource>, 'stored'>,
): Promise<void> {
  const rest: Kept[] = [];
  const reads: Promise<void>[] = [];
  for (const each of kept) {
    const place = source.placeOf?.(each.name);
    if (place) reads.push(keepBlocks(each, place, (blocks) => readPlace(blocks, place)));
    else rest.push(each);
  }
  const all = Promise.all(reads);
  // Awaited below: a fault of the others must not leave it behind unheard.
  all.catch(() => {});
  for (const each of rest) {
    const stored = await source.stored(each.name);
    await keepBlocks(each, { rows: stored.rows, bytes: stored.bytes.length }, async (blocks) => blocks.write(stored.bytes));
  }
  await all;
}

/** Makes room for blocks, has it filled, and packs what is in it by then. */
async function keepBlocks(
  { parameter, type, use: { isMultiplied, isLookedUp } }: Kept,
  { rows, bytes }: { readonly rows: number; readonly bytes: number },
  fill: (blocks: Tensor) => Promise<void>,
): Promise<void> {
  await scope(() => {
    const blocks = emptyBytes(parameter.device, [rows, bytes / rows], parameter.label);
    const filled = fill(blocks);
    const weight = isMultiplied ? packQuantized(blocks, type, parameter.columns, isLookedUp) : quantizedTable(blocks, type);
    setQuantized(parameter, weight);
    return filled;
  });
}
