// The process that keeps one cluster alive: starts it, says how to reach it in one line, and ends it with its owner or on a signal.
import { rmSync } from 'node:fs';
import { basename } from 'node:path';
import { build } from './build.ts';
import { controlPlaneParts, startControlPlane } from './control-plane.ts';
import type { ControlPlaneOptions } from './control-plane.ts';
import { Processes } from './processes.ts';
import { claimFolder, writeState } from './state.ts';
import type { ClusterAccess } from './state.ts';

export interface ClusterOptions extends ControlPlaneOptions {
  /** The folder's name under that of all clusters; one that is free if left out. */
  readonly name?: string;
  /** `lifeline`: until standard input ends. `detached`: until a signal. */
  readonly owner: 'lifeline' | 'detached';
}

/** What the supervisor writes to its standard output, one JSON object a line. */
export type Report =
  | { readonly type: 'progress'; readonly text: string }
  | { readonly type: 'ready'; readonly access: ClusterAccess }
  | { readonly type: 'failed'; readonly text: string };

/** Another process may take a free port before the server does. */
const startAttempts = 3;

const tell = (report: Report): void => void process.stdout.write(`${JSON.stringify(report)}\n`);
// Whoever started this may have gone without reading to the end.
process.stdout.on('error', () => undefined);

const options = JSON.parse(process.argv[2] ?? '') as ClusterOptions;
const end = new AbortController();
const ended = new Promise<void>((done) => end.signal.addEventListener('abort', () => done(), { once: true }));
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => end.abort());
if (options.owner === 'lifeline')
  process.stdin
    .resume()
    .on('end', () => end.abort())
    .on('error', () => end.abort());

async function startOnce(folder: string): Promise<{ processes: Processes; access: ClusterAccess }> {
  const processes = new Processes(`${folder}/logs`);
  try {
    const stopped = ended.then(() => Promise.reject(new Error('stopped while it started')));
    return { processes, access: await Promise.race([startControlPlane(folder, options, processes), stopped]) };
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

async function start(folder: string): Promise<{ processes: Processes; access: ClusterAccess }> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(folder);
    } catch (error) {
      if (attempt === startAttempts || !/address already in use/.test(String(error))) throw error;
      for (const part of ['etcd', 'logs', 'pki']) rmSync(`${folder}/${part}`, { recursive: true, force: true });
    }
  }
}

let folder: string | undefined;
let isUp = false;
try {
  await build(controlPlaneParts(options), (text) => tell({ type: 'progress', text }));
  folder = claimFolder(options.name);
  const { processes, access } = await start(folder);
  writeState(access);
  tell({ type: 'ready', access });
  isUp = true;
  try {
    await Promise.race([ended, processes.failed]);
  } finally {
    await processes.stop();
  }
} catch (error) {
  const text = error instanceof Error ? explained(error) : String(error);
  if (isUp) process.stderr.write(`cluster ${basename(folder ?? '')}: ${text}\n`);
  else tell({ type: 'failed', text });
  process.exitCode = 1;
} finally {
  if (folder) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
process.exit();

function explained(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${explained(error.cause)}` : error.message;
}
