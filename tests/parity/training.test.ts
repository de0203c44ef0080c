// Ten steps of training against torch.optim.AdamW with clipped gradients.
import { afterAll, expect, it } from 'vitest';
import { openHuggingFace } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { Trainer } from '#runtime/train/trainer.ts';
import { batchOf, cases, distance, folderOf, readExpected } from './cases.ts';
import type { Expected } from './cases.ts';

const device = openDevice();
afterAll(() => device.close());

async function train(name: string, expected: Expected, grains: number) {
  const source = await openHuggingFace(folderOf(name));
  const { sequences, length } = expected;
  const batch = { sequences, length, grains };
  const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 };
  using trainer = new Trainer({ config: source.config, device, batch, seed: 0, recompute: 'none', optimizer });
  await trainer.load(source);
  await source.close();
  const [losses, norms]: [number[], number[]] = [[], []];
  for (const [index] of expected.batches.entries()) {
    const { loss, gradientNorm } = await trainer.step(batchOf(expected, index), index + 1, 1e-3);
    losses.push(loss);
    norms.push(gradientNorm);
  }
  return { losses, norms };
}

it.each(cases)('%s: ten steps of AdamW give the losses of PyTorch, with one grain and with two', async (name) => {
  const expected = await readExpected(name);
  expect(
    expected.gradientNorms.every((norm) => norm > 1),
    'the fixture clips every step',
  ).toBe(true);
  for (const grains of [1, 2]) {
    const { losses, norms } = await train(name, expected, grains);
    expect(losses).toHaveLength(10);
    expect(distance(losses, expected.losses)).toBeLessThan(1e-4);
    const relative = norms.map((norm, index) => norm / (expected.gradientNorms[index] ?? NaN));
    expect(
      distance(
        relative,
        relative.map(() => 1),
      ),
    ).toBeLessThan(1e-4);
  }
});
