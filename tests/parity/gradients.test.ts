// Logits, loss and gradients against PyTorch.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeHuggingFace } from '#runtime/model/huggingface-writer.ts';
import { contiguous, headWeight, hiddenStates, loadHuggingFace, logits } from '#runtime/model/main.ts';
import type { Model } from '#runtime/model/main.ts';
import { Tape, crossEntropy, expectNoLeaks, openDevice, scope, tensor } from '#runtime/tensor/main.ts';
import { batchOf, cases, distance, folderOf, magnitude, readExpected, readTensors } from './cases.ts';
import type { Expected } from './cases.ts';

/** Both sides compute in fp32, in different orders: logits of magnitude 10 and gradients of two layers agree to a few 1e-6. */
const allowed = 1e-4;

const device = openDevice();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-parity-'));
});
afterAll(async () => {
  device.close();
  await rm(folder, { recursive: true });
});

async function logitsOf(model: Model, expected: Expected): Promise<Float32Array> {
  const { inputs } = batchOf(expected, 0);
  return await scope(() =>
    logits(model, hiddenStates(model, tensor(device, inputs, [inputs.length]), contiguous(expected))).read(),
  );
}

/** Losses per token, and the gradient of their mean by parameter. */
async function lossesAndGradients(model: Model, expected: Expected): Promise<[Float32Array, Map<string, Float32Array>]> {
  const { inputs, targets } = batchOf(expected, 0);
  const count = inputs.length;
  const readings = scope(() => {
    using tape = new Tape(expected);
    const losses = tape.record(() => {
      const ids = tensor(device, inputs, [count]);
      const hidden = hiddenStates(model, ids, contiguous(expected), { tokenWeight: 1 / count });
      return crossEntropy(hidden, headWeight(model), tensor(device, targets, [count]), { weight: 1 / count });
    });
    tape.backward(losses);
    const gradients = [...model.parameters].map(async ([name, parameter]) => {
      using gradient = parameter.takeGradient();
      const reading = gradient.read();
      return [name, await reading] as const;
    });
    return Promise.all([losses.read(), Promise.all(gradients)]);
  });
  const [losses, gradients] = await readings;
  return [losses, new Map(gradients)];
}

it.each(cases)('%s: logits are those of PyTorch', async (name) => {
  const expected = await readExpected(name);
  using model = await loadHuggingFace(folderOf(name), device);
  const wanted = (await readTensors(join(folderOf(name), 'expected.safetensors'))).get('logits') ?? [];
  expect(magnitude(wanted)).toBeGreaterThan(1);
  expect(distance(await logitsOf(model, expected), wanted)).toBeLessThan(allowed);
});

it.each(cases)('%s: the loss and every gradient are those of PyTorch', async (name) => {
  await expectNoLeaks(async () => {
    const expected = await readExpected(name);
    using model = await loadHuggingFace(folderOf(name), device);
    const [losses, gradients] = await lossesAndGradients(model, expected);
    expect(Math.abs(losses.reduce((sum, loss) => sum + loss, 0) / losses.length - expected.loss)).toBeLessThan(allowed);

    // Written as if they were weights, the gradients come back under the names and in the layout of PyTorch.
    const read = async (parameter: string) => gradients.get(parameter) ?? Float32Array.of();
    await writeHuggingFace({ config: model.config, read }, join(folder, name));
    const ours = await readTensors(join(folder, name, 'model.safetensors'));
    const theirs = await readTensors(join(folderOf(name), 'expected.safetensors'));
    theirs.delete('logits');
    expect([...ours.keys()].map((key) => `gradients.${key}`).sort()).toEqual([...theirs.keys()].sort());
    const errors = [...ours].map(([key, values]) => {
      const wanted = theirs.get(`gradients.${key}`) ?? [];
      return { key, error: distance(values, wanted) / magnitude(wanted) };
    });
    expect(errors.filter(({ error }) => !(error <= allowed))).toEqual([]);
  });
});
