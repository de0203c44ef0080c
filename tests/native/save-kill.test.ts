// A rank process that is killed by SIGKILL at a call of the file system during a save of two leaves the old checkpoint or the new one.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadNewest } from '#runtime/checkpoint/load.ts';
import { saveFrom, shardsOfRank } from '#runtime/checkpoint/testing.ts';
import { probeLayout, probeTensors } from './save-probe-state.ts';

/** Moments at which a rank is killed, spread over its calls. */
const kills = 5;

let folder: string;
let before: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-save-kill-'));
  before = join(folder, 'before');
  await saveFrom(before, probeTensors(1), probeLayout, 1);
});
afterAll(() => rm(folder, { recursive: true }));

interface Ended {
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly output: string;
}

/** Saves step 2 from two processes. When the one that `killAt` is for dies, the others are killed too, as an agent does. */
async function saveFromProcesses(root: string, killAt?: { rank: number; call: number }): Promise<Ended[]> {
  const children: ChildProcess[] = [];
  const ended = [0, 1].map((rank) => {
    const kill = rank === killAt?.rank ? { PROBE_KILL_AT: String(killAt.call) } : {};
    const env = { PATH: process.env['PATH'] ?? '', PROBE_ROOT: root, PROBE_RANK: String(rank), PROBE_STEP: '2', ...kill };
    const child = spawn(process.execPath, [join(import.meta.dirname, 'save-probe.ts')], { env });
    children.push(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (output += part.toString()));
    return new Promise<Ended>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        if (signal) for (const other of children) other.kill('SIGKILL');
        resolve({ code, signal, output });
      });
    });
  });
  return await Promise.all(ended);
}

/** The step that a job of one rank finds; its values must be those of that step. */
async function stepIn(root: string): Promise<number | undefined> {
  const shards = shardsOfRank(probeTensors(0), {}, 0, true);
  const onDamaged = (error: Error) => {
    throw error;
  };
  const state = await loadNewest(root, 'c0ffee', shards, { onDamaged });
  expect(shards).toEqual(shardsOfRank(probeTensors(state?.step ?? 0), {}, 0));
  return state?.step;
}

it(`killed at ${kills} calls of each rank`, async () => {
  const whole = join(folder, 'whole');
  await cp(before, whole, { recursive: true });
  const undisturbed = await saveFromProcesses(whole);
  expect(
    undisturbed.map(({ code }) => code),
    undisturbed.map(({ output }) => output).join('\n'),
  ).toEqual([0, 0]);
  expect(await stepIn(whole)).toBe(2);

  const found = new Set<number | undefined>();
  for (const rank of [0, 1]) {
    const calls = Number(undisturbed[rank]?.output);
    for (let kill = 0; kill < kills; kill += 1) {
      const call = Math.round(((calls - 1) * kill) / (kills - 1));
      const root = join(folder, `killed-${rank}-${call}`);
      await cp(before, root, { recursive: true });
      const ends = await saveFromProcesses(root, { rank, call });
      expect(ends[rank]?.signal, ends[rank]?.output).toBe('SIGKILL');
      const step = await stepIn(root);
      expect([1, 2], `rank ${rank} at call ${call}`).toContain(step);
      found.add(step);
    }
  }
  expect(found).toEqual(new Set([1, 2]));
});
