// Clusters that run on this machine: a folder each, whose state.json says who keeps it alive.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

export type Size = 'api' | 'node';

/** How to reach a cluster that is up. */
export interface ClusterAccess {
  readonly name: string;
  readonly size: Size;
  /** Holds certificates, logs and data; gone when the cluster is. */
  readonly folder: string;
  readonly url: string;
  /** File with the administrator's credentials. */
  readonly kubeconfig: string;
  /** PEM texts: of the authority that signed the server's certificate, and of the administrator's client certificate. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Bearer token of the administrator. */
  readonly token: string;
}

export interface ClusterState {
  readonly access: ClusterAccess;
  /** The supervisor: the cluster lives as long as it does. */
  readonly supervisor: Process;
}

/** A process id may be taken again; together with the start time it is one process. */
interface Process {
  readonly pid: number;
  readonly startTime: string;
}

/** One folder per user: another user's is not to be written. */
const clustersFolder = (): string => join(tmpdir(), `windlass-clusters-${userInfo().uid}`);

/** It becomes part of the names of folders, control groups and users. */
const namePattern = /^[A-Za-z0-9][-A-Za-z0-9]{0,39}$/;

/** Makes the folder of a new cluster. Throws when the name is taken or is none. */
export function claimFolder(name: string | undefined): string {
  if (name !== undefined && !namePattern.test(name)) {
    throw new Error(`the name of a cluster must be letters, digits and "-", at most 40; got ${JSON.stringify(name)}`);
  }
  mkdirSync(clustersFolder(), { recursive: true, mode: 0o700 });
  const folder = name === undefined ? mkdtempSync(join(clustersFolder(), 'c-')) : join(clustersFolder(), name);
  try {
    if (name !== undefined) mkdirSync(folder, { mode: 0o700 });
  } catch (cause) {
    throw new Error(
      `a cluster named ${name} is there already; stop it with hack/cluster down ${name}, or choose another --name`,
      { cause },
    );
  }
  writeFileSync(join(folder, 'owner.json'), JSON.stringify(thisProcess()));
  return folder;
}

/** Appears when the cluster is up, whole or not at all. */
export function writeState(access: ClusterAccess): void {
  const file = join(access.folder, 'state.json');
  writeFileSync(`${file}.new`, JSON.stringify({ access, supervisor: thisProcess() } satisfies ClusterState), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Clusters that are up, by name. */
export function runningClusters(): ClusterState[] {
  if (!existsSync(clustersFolder())) return [];
  const states = readdirSync(clustersFolder()).map(
    (entry) => read(join(clustersFolder(), entry, 'state.json')) as ClusterState | undefined,
  );
  return states.filter((state) => state !== undefined).filter((state) => isAlive(state.supervisor));
}

/** Folders of clusters whose supervisor was killed. Their processes ended with it. */
export function deadClusters(): string[] {
  if (!existsSync(clustersFolder())) return [];
  const folders = readdirSync(clustersFolder()).map((entry) => join(clustersFolder(), entry));
  return folders.filter((folder) => {
    const owner = read(join(folder, 'owner.json')) as Process | undefined;
    return owner !== undefined && !isAlive(owner);
  });
}

function read(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

const thisProcess = (): Process => ({ pid: process.pid, startTime: startTimeOf(process.pid) ?? '' });

/** False for a zombie too: it only waits for its parent to look. */
export function isAlive({ pid, startTime }: Process): boolean {
  return startTimeOf(pid) === startTime;
}

/** Clock ticks since boot (proc(5), field 22 of stat); undefined for a process that is gone or a zombie. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
