// Opens packed weights, touches all of them, says so and waits for the end of its input: run by the test beside it.
import { openDevice } from '#runtime/tensor/main.ts';
import { createModel } from '../model.ts';
import { sharedModelFrom } from './cache.ts';
import { tinyLlama } from '../testing.ts';

/** Many pages of weights. */
const config = { ...tinyLlama, hiddenSize: 192, headSize: 32, intermediateSize: 384, vocabularySize: 501 };

const [folder = ''] = process.argv.slice(2);
const device = openDevice();
const plain = createModel(config, { seed: 1, device });
const source = { config, read: (name: string) => plain.parameters.get(name)!.read() };
const model = await sharedModelFrom(source, device, {
  folder,
  identity: 'shared',
  onTrouble: (error) => process.stderr.write(`${error.message}\n`),
});
process.stdout.write('ready\n');
process.stdin.resume();
process.stdin.once('end', () => {
  model.dispose();
  process.exit(0);
});
