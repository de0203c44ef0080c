// What `hack/peers` says and does without fetching anything.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withBarrier } from './llama.ts';
import { step, tenths } from './steps.ts';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'wl-peers-'))));
afterAll(() => rmSync(folder, { recursive: true }));

const log = () => join(folder, 'logs/step.log');

it('names its peers, and where they go', () => {
  const env = { ...process.env, XDG_CACHE_HOME: '/somewhere' };
  const words = execFileSync(process.execPath, [resolve('hack/peer-tools/main.ts'), '--help'], { encoding: 'utf8', env });
  expect(words.replaceAll(/\s+/g, ' ')).toMatch(/by version, in \/somewhere\/windlass\/peers\..* torch .* llama .* smollm2 /);
});

describe('a step', () => {
  it('keeps all output in its log and passes on each line', async () => {
    const lines: string[] = [];
    await step('sh', ['-c', 'echo one; echo two >&2; printf three'], { log: log(), onLine: (line) => lines.push(line) });
    expect(lines.toSorted()).toEqual(['one', 'three', 'two']);
    expect(readFileSync(log(), 'utf8').trimEnd().split('\n').toSorted()).toEqual(['one', 'three', 'two']);
  });

  it('that fails says how, what was printed last, and where the rest is', async () => {
    const failing = step('sh', ['-c', 'seq 1 30; exit 3'], { log: log() });
    await expect(failing).rejects.toThrow(new RegExp(`^sh ended with 3:\n11\n[^]*\n30\nAll of it is in ${log()}\\.$`));
  });

  it('whose command is not there says so', async () => {
    const missing = step('no-such-command', [], { log: log() });
    await expect(missing).rejects.toThrow(
      'no-such-command could not be started: spawn no-such-command ENOENT; install it and run again',
    );
  });
});

it('progress of ninja is told once for each tenth', () => {
  const told: string[] = [];
  const onLine = tenths('building', (line) => told.push(line));
  for (const line of ['ninja: Entering directory', '[1/20] a', '[2/20] b', '[3/20] c', '[4/20] d', '[20/20] e']) onLine(line);
  expect(told).toEqual(['building: 10 %', 'building: 20 %', 'building: 100 %']);
});

it('the barrier before ldtilecfg is put in once, whatever was done before', () => {
  const text = 'void f() {\n    tile_config_t tc = {};\n    _tile_loadconfig(&tc);\n}\n';
  const mended = withBarrier(text);
  expect(mended).toBe(
    'void f() {\n    tile_config_t tc = {};\n    __asm__ volatile("" : : "r"(&tc) : "memory");\n    _tile_loadconfig(&tc);\n}\n',
  );
  expect(withBarrier(mended)).toBe(mended);
  expect(withBarrier('nothing of the kind')).toBe('nothing of the kind');
});
