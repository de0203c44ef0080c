// Models that only serve: matrices that a source keeps in blocks stay in blocks on the device, and are multiplied with as they are.
import {
  detachedParameter,
  emptyParameter,
  packQuantized,
  quantizedTable,
  quantTypes,
  scope,
  setQuantized,
  tensor,
} from '#runtime/tensor/main.ts';
import type { Device, Parameter, QuantType } from '#runtime/tensor/main.ts';
import type { ModelConfig, ParameterSpec } from './config.ts';
import { modelFrom } from './huggingface.ts';
import { Model } from './model.ts';
import { parameterSpecs } from './parameters.ts';
import type { StoredRows, WeightSource } from './weight-source.ts';

/** A model on `device` with the values of `source`, in the types in which the source keeps them. It can't be trained or saved. */
export async function servedModelFrom(source: WeightSource, device: Device): Promise<Model> {
  const { config } = source;
  if (!source.typeOf || !source.stored) return await modelFrom(source, device);
  const types = new Map(parameterSpecs(config).map((spec) => [spec.name, quantTypeOf(source, spec)]));
  const model = new Model(config, device, ({ name, shape }) =>
    types.get(name) === undefined ? emptyParameter(device, shape, name) : detachedParameter(device, shape, name),
  );
  try {
    for (const [name, parameter] of model.parameters) {
      const type = types.get(name);
      if (type === undefined) parameter.write(await source.read(name));
      else keepBlocks(parameter, type, await source.stored(name), useOf(name, config));
    }
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** The type that a parameter keeps; undefined where it is, or becomes, f32. */
function quantTypeOf(source: WeightSource, { name, shape }: ParameterSpec): QuantType | undefined {
  const type = source.typeOf?.(name);
  const isMatrix = shape.length === 2 && name !== 'embedding.positions';
  return isMatrix && type !== undefined && type !== 'F32' && Object.hasOwn(quantTypes, type) ? type : undefined;
}

/** What is done with a matrix. */
interface Use {
  readonly isMultiplied: boolean;
  readonly isLookedUp: boolean;
}

function useOf(name: string, { tieEmbeddings }: ModelConfig): Use {
  const isLookedUp = name === 'embedding.tokens';
  return { isMultiplied: !isLookedUp || tieEmbeddings, isLookedUp };
}

function keepBlocks(parameter: Parameter, type: QuantType, { rows, bytes }: StoredRows, { isMultiplied, isLookedUp }: Use): void {
  scope(() => {
    const blocks = tensor(parameter.device, bytes, [rows, bytes.length / rows], parameter.label);
    const weight = isMultiplied ? packQuantized(blocks, type, parameter.columns, isLookedUp) : quantizedTable(blocks, type);
    setQuantized(parameter, weight);
  });
}
