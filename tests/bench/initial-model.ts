// Writes the weights that training starts from as a Hugging Face folder: initial-model.ts MODEL FOLDER. A process of its own, whose memory is
// not that of training.
import { modelFrom, saveHuggingFace } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { initialWeights } from '#runtime/train/trainer.ts';
import { configOf, trainedModels } from './trainee.ts';
import type { TrainedModel } from './trainee.ts';

const [name, folder] = process.argv.slice(2) as [TrainedModel, string];
const config = configOf(trainedModels[name]);
const device = openDevice();
await saveHuggingFace(await modelFrom({ config, ...initialWeights(config, 0, device) }, device), folder);
