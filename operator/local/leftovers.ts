// Processes that outlived the instance that started them: recorded when they start, ended before the next instance makes new ones.
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { identify, isRunning } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';

const fileName = 'process.json';
const pollMs = 20;

/** Remembers the process of a pod in the pod's folder. */
export async function recordProcess(podDir: string, pid: number): Promise<void> {
  const identity = await identify(pid);
  if (identity) await writeFile(join(podDir, fileName), JSON.stringify(identity));
}

/** Ends what the pods below `podsDir` left running, by force after `graceMs`, and removes their folders. */
export async function endLeftovers(podsDir: string, graceMs: number): Promise<void> {
  const pods = await readdir(podsDir).catch(() => []);
  await Promise.all(pods.map((pod) => endRecorded(join(podsDir, pod, fileName), graceMs)));
  await rm(podsDir, { recursive: true, force: true });
}

async function endRecorded(path: string, graceMs: number): Promise<void> {
  const recorded = await readRecorded(path);
  if (!recorded) return;
  const deadline = Date.now() + graceMs;
  for (let signal: NodeJS.Signals | 0 = 'SIGTERM'; await isRunning(recorded); signal = 0) {
    signalGroup(recorded.pid, Date.now() > deadline ? 'SIGKILL' : signal);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** What a pod's folder says; undefined if it says nothing, or was cut off while it was written. */
async function readRecorded(path: string): Promise<ProcessIdentity | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}

/** Signals a container's process and all that it started. Those that are gone already are no error. */
export function signalGroup(pid: number, signal: NodeJS.Signals | 0): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
