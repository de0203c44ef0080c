// The example of many ranks runs as the documents say: two jobs of four ranks each, cut short to a few steps.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, project, windlass } from './harness.ts';

afterEach(cleanUp);

const example = readFileSync(join(resolve(import.meta.dirname, '../..'), 'examples/parallel.yaml'), 'utf8');

it('examples/parallel.yaml trains, tells its ranks and publishes both models', async () => {
  const short = example.replaceAll('steps: 100,', 'steps: 6,');
  expect(short).not.toBe(example);
  const { code, output } = await windlass(project(short), 'run', '-f', 'manifest.yaml', '--exit');
  expect(code, output).toBe(0);
  for (const job of ['moby-tensor', 'moby-pipeline']) {
    expect(output).toContain(`trainingjob/${job}: 4/4 ranks\n`);
    expect(output).toContain(`trainingjob/${job}: Succeeded, published ${job}-1\n`);
  }
});
