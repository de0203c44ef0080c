// A GGUF file is served under `windlass run` by its path, and answers what the folder that it was made of answers.
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { exportModel } from '#runtime/model/export.ts';
import { cleanUp, project, start } from './harness.ts';
import { tinyModels } from './tiny-models.ts';

afterEach(cleanUp);

it('serves the GGUF file that spec.model.uri names', async () => {
  const manifest = `apiVersion: windlass.dev/v1alpha1
kind: InferenceService
metadata: { name: tiny }
spec: { model: { uri: ./tiny.gguf } }
`;
  const folder = project(manifest);
  const [model] = await tinyModels(folder, [3], 'Call me', 12);
  await exportModel({ from: model!.path, to: join(folder, 'tiny.gguf'), recipe: 'F32' });
  const running = start(folder, 'run', '-f', 'manifest.yaml');
  const served = /(http:\S+\/v1)\n/;
  const [, url] = served.exec(await running.until(served)) ?? [];
  const response = await fetch(`${url}/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'Call me', max_tokens: 12, temperature: 0, ignore_eos: true }),
  });
  const { choices } = (await response.json()) as { choices: { text: string }[] };
  expect(choices[0]?.text).toBe(model!.text);
  running.signal('SIGINT');
  await running.ended;
});
