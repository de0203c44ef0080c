// `windlass run --profile`: one file for Perfetto with every rank of a job and the engine of a service.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { ChromeTrace } from '#runtime/api/profile/chrome.ts';
import { cleanUp, job, project, service, windlass } from './harness.ts';

afterEach(cleanUp);

it('holds steps of all ranks and the question that was asked, and says where their time went', async () => {
  const folder = project(
    `${job().replace('length: 32 }', 'length: 32, grains: 2 }')}  parallelism: { dataReplicate: 2 }\n`,
    service(),
  );
  const args = ['run', '-f', 'manifest.yaml', '--ask', 'the whale', '--exit', '--profile', 'profile.json'];
  const { code, output } = await windlass(folder, ...args);
  expect(output).toMatch(/profile: \S+\/profile\.json, .*\n6 steps and [1-9]\d* requests?, (9[5-9]|100)\.\d % of their time/);
  expect(code).toBe(0);
  const { traceEvents, otherData } = JSON.parse(readFileSync(join(folder, 'profile.json'), 'utf8')) as ChromeTrace;
  const named = (what: string) => traceEvents.flatMap(({ name, args: words }) => (name === what ? [words!['name']] : []));
  expect(named('process_name')).toEqual(['tiny rank 0', 'tiny rank 1', expect.stringMatching(/^tiny-\S+ \(tiny\)$/)]);
  expect(named('thread_name')).toContain('communication 1');
  const ofRank = otherData.windows.filter(({ process }) => process === 'tiny rank 1').map(({ name }) => name);
  expect(ofRank).toEqual(['step 3', 'step 4', 'step 5']);
  for (const { coverage } of otherData.windows) expect(coverage).toBeGreaterThan(0.95);
  expect(readdirSync(folder).filter((name) => name.startsWith('profile.json'))).toEqual(['profile.json']);
  expect(existsSync(join(folder, '.windlass/profile'))).toBe(false);
});

it('refuses a file that it could not write, before anything runs', async () => {
  const folder = project(job());
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit', '--profile', 'nowhere/profile.json');
  expect(output).toMatch(/WL_\w+: --profile nowhere\/profile\.json: /);
  expect(code).not.toBe(0);
  expect(existsSync(join(folder, '.windlass/objects'))).toBe(false);
});
