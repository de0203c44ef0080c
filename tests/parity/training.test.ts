// Ten steps of training against torch.optim.AdamW with clipped gradients.
import { afterAll, expect, it } from 'vitest';
import { loadHuggingFace } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { AdamW } from '#runtime/train/optimizer.ts';
import { trainStep } from '#runtime/train/step.ts';
import { batchOf, cases, distance, folderOf, readExpected } from './cases.ts';
import type { Expected } from './cases.ts';

const device = openDevice();
afterAll(() => device.close());

async function train(name: string, expected: Expected, grains: number) {
  using model = await loadHuggingFace(folderOf(name), device);
  using optimizer = new AdamW(model, { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 });
  const { sequences, length } = expected;
  const config = { sequences, length, grains, seed: 0, recompute: 'none' } as const;
  const [losses, norms]: [number[], number[]] = [[], []];
  for (const [index] of expected.batches.entries()) {
    const { loss, gradientNorm } = await trainStep(model, optimizer, batchOf(expected, index), index + 1, 1e-3, config);
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
