// The losses of routers: gradients with them against PyTorch, by the definitions of the papers.
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { contiguous, headWeight, hiddenStates, modelFrom, openHuggingFace } from '#runtime/model/main.ts';
import { Tape, crossEntropy, openDevice, scope, tensor } from '#runtime/tensor/main.ts';
import { batchOf, distance, folderOf, magnitude, readExpected, readTensors } from './cases.ts';

const device = openDevice();
afterAll(() => device.close());

/** Of tests/fixtures/generate.py. */
const losses = { balance: 0.5, z: 0.25 };

it('with the losses of its routers, a mixture has the gradients of PyTorch', async () => {
  const expected = await readExpected('mixtral');
  const wanted = await readTensors(join(folderOf('mixtral'), 'router-losses.safetensors'));
  const plain = await readTensors(join(folderOf('mixtral'), 'expected.safetensors'));
  const source = await openHuggingFace(folderOf('mixtral'));
  const { config } = source;
  using model = await modelFrom(
    { config: { ...config, mixture: { ...config.mixture!, ...losses } }, read: (name) => source.read(name) },
    device,
  );
  await source.close();
  const { inputs, targets } = batchOf(expected, 0);
  const count = inputs.length;
  const readings = scope(() => {
    using tape = new Tape(expected);
    const loss = tape.record(() => {
      const ids = tensor(device, inputs, [count]);
      const hidden = hiddenStates(model, ids, contiguous(expected), { tokenWeight: 1 / count });
      return crossEntropy(hidden, headWeight(model), tensor(device, targets, [count]), { weight: 1 / count });
    });
    tape.backward(loss);
    const names = ['embedding.tokens', 'blocks.0.mlp.router.weight', 'blocks.1.mlp.router.weight'];
    return names.map((name) => {
      using gradient = model.parameters.get(name)!.takeGradient();
      return gradient.read();
    });
  });
  const ours = await Promise.all(readings);
  const files = [
    'model.embed_tokens.weight',
    'model.layers.0.block_sparse_moe.gate.weight',
    'model.layers.1.block_sparse_moe.gate.weight',
  ].map((name) => `gradients.${name}`);
  expect([...wanted.keys()].sort()).toEqual([...files].sort());
  for (const [index, name] of files.entries()) {
    const theirs = wanted.get(name)!;
    // Both sides compute in fp32, in different orders.
    expect(distance(ours[index]!, theirs) / magnitude(theirs), name).toBeLessThan(1e-4);
    expect(distance(plain.get(name)!, theirs) / magnitude(theirs), `${name} without the losses`).toBeGreaterThan(1e-2);
  }
});
