// Writes packed weights into the file it is told, and is killed in the middle of it: run by the test beside it.
import { openDevice } from '#runtime/tensor/main.ts';
import { createModel, dropPlainWeights, packModel } from '../model.ts';
import { tinyLlama } from '../testing.ts';
import { packedContent } from './cache.ts';
import { writePacked } from './file.ts';

const [path = ''] = process.argv.slice(2);
const device = openDevice();
const model = createModel(tinyLlama, { seed: 1, device });
packModel(model);
dropPlainWeights(model);
// What comes before it is written by then.
const last = model.parameters.get('finalNorm.weight')!;
last.read = () => {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
};
await writePacked(path, packedContent({ config: tinyLlama }, 'killed'), model);
