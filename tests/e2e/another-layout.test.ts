// A job that was stopped half-way goes on in another layout, as docs/parallelism.md says, and ends with the weights of one that never stopped.
import { afterEach, expect, it } from 'vitest';
import { cleanUp, object, objects, project, start, windlass, writeManifests } from './harness.ts';

afterEach(cleanUp);

const steps = 200;

function job(name: string, parallelism: string, suspend = false): string {
  return `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: ${name} }
spec:
  model: { family: llama, config: { hiddenSize: 64, layers: 4, heads: 4, intermediateSize: 128 } }
  data: { uri: ./texts, tokenizer: { train: { vocabularySize: 300 } } }
  task:
    pretrain: { steps: ${steps}, batch: { sequences: 8, length: 32, grains: 4 }, optimizer: { learningRate: 3e-3 } }
  parallelism: ${parallelism}
  suspend: ${suspend}
  output: { model: ${name} }
`;
}

async function digestOf(folder: string, name: string): Promise<unknown> {
  const version = (await objects(folder)).find(({ kind, metadata }) => kind === 'ModelVersion' && metadata.name === `${name}-1`);
  return version?.spec?.['digest'];
}

it('a suspended job goes on in another layout with the same bits', async () => {
  const unbroken = job('unbroken', '{}');
  const folder = project(job('moved', '{ dataShard: 2 }'), unbroken);
  const run = ['run', '-f', 'manifest.yaml', '--exit'];
  const first = start(folder, ...run);
  await first.until(/trainingjob\/moved: step \d/);
  first.signal('SIGINT');
  await first.ended;
  expect(first.output()).not.toContain('trainingjob/moved: Succeeded');

  writeManifests(folder, job('moved', '{ tensor: 2, pipeline: 2 }', true), unbroken);
  await windlass(folder, ...run);
  expect((await object(folder, 'TrainingJob', 'moved'))?.status?.['state']).toBe('Suspended');

  writeManifests(folder, job('moved', '{ tensor: 2, pipeline: 2 }'), unbroken);
  const { code, output } = await windlass(folder, ...run);
  expect(code, output).toBe(0);
  expect(output).toContain('trainingjob/moved: 4/4 ranks');
  const wanted = await digestOf(folder, 'unbroken');
  expect(wanted).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(await digestOf(folder, 'moved')).toBe(wanted);
});
