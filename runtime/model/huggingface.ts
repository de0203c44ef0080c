// Models from and to folders in Hugging Face layout.
import type { Device } from '#runtime/tensor/main.ts';
import { openHuggingFace } from './huggingface-reader.ts';
import { writeHuggingFace } from './huggingface-writer.ts';
import type { WriteOptions } from './huggingface-writer.ts';
import { fillAll } from './fill.ts';
import { Model } from './model.ts';
import type { WeightSource } from './weight-source.ts';

/** Loads a folder of any family onto `device`. Throws WL_FILE_MISSING, WL_MODEL_INVALID, WL_SAFETENSORS_INVALID, WL_OUT_OF_MEMORY. */
export async function loadHuggingFace(folder: string, device: Device): Promise<Model> {
  const source = await openHuggingFace(folder);
  try {
    return await modelFrom(source, device);
  } finally {
    await source.close();
  }
}

/** A model on one device with the values of `source`. */
export async function modelFrom(source: WeightSource, device: Device): Promise<Model> {
  const model = new Model(source.config, device);
  try {
    await fillAll(model.parameters, source);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Saves a model as a folder that transformers loads; `options.files` are the tokenizer's. Throws WL_FILE_EXISTS, WL_DISK_FULL, WL_IO. */
export async function saveHuggingFace(model: Model, folder: string, options: WriteOptions = {}): Promise<void> {
  await writeHuggingFace(weightsOf(model), folder, options);
}

/** The values of a model's parameters as they are when each is read. */
function weightsOf(model: Model): WeightSource {
  return {
    config: model.config,
    async read(name) {
      const parameter = model.parameters.get(name);
      if (!parameter) throw new Error(`internal: no parameter ${name}`);
      return await parameter.read();
    },
  };
}
