// The process that keeps one cluster alive: starts it, says how to reach it in one line, and ends it with its owner or on a signal.
import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from './build.ts';
import { cgroupsNamed, removeCgroup } from './cgroups.ts';
import { groups } from './components.ts';
import { controllers, controlPlaneParts, startControlPlane } from './control-plane.ts';
import type { ControlPlaneOptions } from './control-plane.ts';
import { createNetwork } from './network.ts';
import { nodeImages } from './node-images.ts';
import { needNodePackages } from './node-packages.ts';
import { cgroupPrefix, startNodes } from './nodes.ts';
import { Processes } from './processes.ts';
import { claimFolder, deadClusters, writeState } from './state.ts';
import type { ClusterAccess } from './state.ts';

export interface ClusterOptions extends ControlPlaneOptions {
  /** The folder's name under that of all clusters; one that is free if left out. */
  readonly name?: string;
  /** Real nodes, with all of the control plane. None if left out. */
  readonly nodes?: number;
  /** `lifeline`: until standard input ends. `detached`: until a signal. */
  readonly owner: 'lifeline' | 'detached';
}

/** What the supervisor writes to its standard output, one JSON object a line. */
export type Report =
  | { readonly type: 'progress'; readonly text: string }
  | { readonly type: 'ready'; readonly access: ClusterAccess }
  | { readonly type: 'failed'; readonly text: string };

interface Running {
  readonly processes: Processes;
  readonly access: ClusterAccess;
}

/** Another process may take a free port before the server does. */
const startAttempts = 3;

const tell = (report: Report): void => void process.stdout.write(`${JSON.stringify(report)}\n`);
const say = (text: string): void => tell({ type: 'progress', text });
// Whoever started this may have gone without reading to the end.
process.stdout.on('error', () => undefined);

const options = JSON.parse(process.argv[2] ?? '') as ClusterOptions;
const end = new AbortController();
const ended = new Promise<void>((done) => end.signal.addEventListener('abort', () => done(), { once: true }));
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => end.abort());
if (options.owner === 'lifeline') for (const event of ['end', 'error']) process.stdin.resume().on(event, () => end.abort());

async function startParts(folder: string, processes: Processes): Promise<ClusterAccess> {
  if (options.nodes === undefined) return (await startControlPlane(folder, options, processes)).access;
  const images = await nodeImages(say);
  const network = await createNetwork(folder, processes);
  const plane = await startControlPlane(folder, { ...options, with: controllers }, processes, network.addresses);
  await startNodes(plane, network, options.nodes, images, processes);
  return plane.access;
}

async function startOnce(folder: string): Promise<Running> {
  const processes = new Processes(join(folder, 'logs'));
  try {
    const stopped = ended.then(() => Promise.reject(new Error('stopped while it started')));
    return { processes, access: await Promise.race([startParts(folder, processes), stopped]) };
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

async function start(folder: string): Promise<Running> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(folder);
    } catch (error) {
      if (attempt === startAttempts || !/address already in use/.test(String(error))) throw error;
      await removeCgroups(basename(folder));
      for (const part of ['etcd', 'logs', 'pki', 'nodes', 'switch']) rmSync(join(folder, part), { recursive: true, force: true });
    }
  }
}

/** Before its folder: as long as that is there, a sweep finds what is left. */
async function removeCgroups(cluster: string): Promise<void> {
  for (const name of cgroupsNamed(cgroupPrefix(cluster))) await removeCgroup(name);
}

function explained(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${explained(error.cause)}` : error.message;
}

let folder: string | undefined;
let isUp = false;
try {
  if (options.nodes !== undefined) await needNodePackages(say);
  await build(options.nodes === undefined ? controlPlaneParts(options) : groups.node, say);
  for (const dead of deadClusters()) {
    await removeCgroups(basename(dead));
    rmSync(dead, { recursive: true, force: true, maxRetries: 5 });
  }
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
  if (folder) {
    await removeCgroups(basename(folder));
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
process.exit();
