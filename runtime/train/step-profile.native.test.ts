// What a rank records of its steps: every operation, and where all of the time went.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { profile, readProfile } from '#kernels/binding.ts';
import { accountsOf, coverage } from '#runtime/api/profile/account.ts';
import { ProfilePart } from '#runtime/api/profile/part.ts';
import { newModelConfig } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { recordedSteps, StepProfile } from './step-profile.ts';
import { initialWeights, Trainer } from './trainer.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'wl-profile-'))));
afterAll(() => rm(folder, { recursive: true }));

it.each([
  [1, 100, 3, 5],
  [41, 100, 43, 45],
  [1, 4, 2, 4],
  [1, 3, 1, 3],
  [7, 8, 7, 8],
  [9, 8, 9, 8],
])('with steps %d to %d ahead, %d to %d are recorded', (next, end, first, last) => {
  expect(recordedSteps(next, end)).toEqual({ first, last });
});

describe('the part of a rank', () => {
  const batch = { sequences: 2, length: 16, grains: 1 };
  const size = { hiddenSize: 32, layers: 2, heads: 2, dropout: 0.1 };
  const config = newModelConfig('gpt2', size, { vocabularySize: 67, trainingLength: batch.length });
  const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 };
  const tokens = Int32Array.from({ length: 32 }, (_, index) => index);

  /** Trains five steps, of which the last three are recorded, and counts each of these steps' operations in another way too. */
  async function train() {
    using device = openDevice();
    using trainer = new Trainer({ config, device, batch, seed: 1, recompute: 'none', optimizer });
    await trainer.load(initialWeights(config, 1, device));
    const steps = new StepProfile(recordedSteps(1, 5), { folder, pod: 'job-0', job: 'job', rank: 2, device, log: () => {} });
    const counted: Map<string, number>[] = [];
    for (let step = 1; step <= 5; step += 1) {
      await steps.starting(step);
      profile(true);
      await trainer.step({ inputs: tokens, targets: tokens }, step, 1e-3);
      await device.sync();
      counted.push(new Map(readProfile().map(({ op, calls }) => [op, calls])));
      profile(false);
      steps.stepped();
    }
    await steps.starting(undefined);
    const part = ProfilePart.parse(JSON.parse(await readFile(join(folder, 'job-0.profile.json'), 'utf8')));
    return { part, counted: counted.slice(2) };
  }

  it('accounts for at least 95 % of the time of each step, and for every operation in it', async () => {
    const { part, counted } = await train();
    expect(part).toMatchObject({ process: 'job rank 2', order: 2, left: 0 });
    expect(part.rows[0]).toBe('compute');
    const accounts = accountsOf(part);
    expect(accounts.map(({ name }) => name)).toEqual(['step 3', 'step 4', 'step 5']);
    for (const [index, account] of accounts.entries()) {
      expect(coverage(account)).toBeGreaterThan(0.95);
      expect(coverage(account)).toBeLessThan(1.001);
      const calls = new Map(account.entries.map(({ name, calls: count }) => [name, count]));
      for (const op of ['linear_forward', 'linear_backward_weight', 'attention_backward', 'adamw'])
        expect([op, calls.get(op)]).toEqual([op, counted[index]!.get(op)]);
      expect(calls.get('adamw')).toBeGreaterThan(0);
    }
  });
});
