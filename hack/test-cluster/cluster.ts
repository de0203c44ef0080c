// Starts a cluster for whoever calls: up when the promise resolves, gone when it is stopped or the calling process ends.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ControlPlaneOptions } from './control-plane.ts';
import { cutPower, importImage } from './nodes.ts';
import type { ClusterAccess } from './state.ts';
import type { ClusterOptions, Report } from './supervisor.ts';

export type { ClusterAccess } from './state.ts';

export interface TestCluster extends ClusterAccess, AsyncDisposable {
  /** The same as plain data, for other processes. */
  readonly access: ClusterAccess;
  /** Ends its processes and removes its folder. */
  readonly stop: () => Promise<void>;
}

export interface ApiServerOptions extends ControlPlaneOptions {
  readonly name?: string;
  /** Gets lines to show while something long goes on: a build takes minutes where the cache is empty. */
  readonly say?: (line: string) => void;
}

/**
 * An API server of its own with etcd behind it, and nothing else unless asked for. Builds what the cache lacks.
 *
 * ```ts
 * await using cluster = await startApiServer({ with: ['controller-manager'] });
 * ```
 */
export async function startApiServer({ say, ...options }: ApiServerOptions = {}): Promise<TestCluster> {
  const { access, stop } = await supervise({ ...options, owner: 'lifeline' }, say ?? (() => undefined));
  return { ...access, access, stop, [Symbol.asyncDispose]: stop };
}

interface NodeClusterOptions extends Omit<ApiServerOptions, 'with'> {
  /** 1 if left out. */
  readonly nodes?: number;
}

/** A whole cluster: the control plane, real nodes that run pods, services and their names. Needs root. */
export async function startNodeCluster({ say, nodes = 1, ...options }: NodeClusterOptions = {}): Promise<TestCluster> {
  const { access, stop } = await supervise({ ...options, nodes, owner: 'lifeline' }, say ?? (() => undefined));
  return { ...access, access, stop, [Symbol.asyncDispose]: stop };
}

/** Gives all nodes of a cluster an image, from an OCI layout in a tar archive. */
export async function loadImage({ folder }: ClusterAccess, archive: string): Promise<void> {
  const nodes = readdirSync(join(folder, 'nodes'));
  await Promise.all(nodes.map((node) => importImage({ folder: join(folder, 'nodes', node) }, archive)));
}

/** Takes a node (`node-1`, `node-2` ...) away as a power cut would. */
export function loseNode({ folder }: ClusterAccess, node: string): void {
  cutPower({ folder: join(folder, 'nodes', node) });
}

/** Starts the supervisor and waits until the cluster is up. Throws with what went wrong. */
export async function supervise(
  options: ClusterOptions,
  say: (line: string) => void,
): Promise<{ access: ClusterAccess; stop: () => Promise<void>; unref: () => void }> {
  const detached = options.owner === 'detached';
  const child = spawn(process.execPath, [join(import.meta.dirname, 'supervisor.ts'), JSON.stringify(options)], {
    // Its standard input is the lifeline: the kernel closes it with the last process that holds the other end.
    stdio: [detached ? 'ignore' : 'pipe', 'pipe', detached ? 'ignore' : 'inherit'],
    detached,
  });
  const closed = new Promise<void>((done) => child.once('close', () => done()));
  const stop = async (): Promise<void> => {
    child.stdin?.end();
    if (detached) child.kill('SIGTERM');
    await closed;
  };
  const { stdout } = child;
  if (stdout === null) throw new Error('the supervisor has no standard output');
  for await (const line of createInterface({ input: stdout })) {
    const report = JSON.parse(line) as Report;
    if (report.type === 'progress') say(report.text);
    if (report.type === 'failed') {
      await closed;
      throw new Error(report.text);
    }
    if (report.type === 'ready') {
      stdout.resume();
      return { access: report.access, stop, unref: () => child.unref() };
    }
  }
  throw new Error('the supervisor ended without a word');
}
