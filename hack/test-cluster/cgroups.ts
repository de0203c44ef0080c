// The control groups of a node: made before kubelet starts, removed when all processes in them are gone.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './wait.ts';

const root = '/sys/fs/cgroup';

/** The folders of all hierarchies (v1), or the one of v2. */
function hierarchies(): string[] {
  if (existsSync(join(root, 'cgroup.controllers'))) return [root];
  return readdirSync(root)
    .map((name) => join(root, name))
    .filter((path) => statSync(path).isDirectory() && existsSync(join(path, 'cgroup.procs')));
}

/** `name` begins with a slash, as kubelet writes it. */
export function createCgroup(name: string): void {
  for (const hierarchy of hierarchies()) {
    const folder = join(hierarchy, name);
    mkdirSync(folder, { recursive: true });
    // A new group of this hierarchy takes nobody in before it has processors and memory.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (existsSync(join(hierarchy, file)) && existsSync(join(folder, file)))
        writeFileSync(join(folder, file), readFileSync(join(hierarchy, file)));
    }
  }
}

/** Waits for the last process to be gone. */
export async function removeCgroup(name: string): Promise<void> {
  for (const hierarchy of hierarchies()) {
    await until(`end of the processes in ${name}`, async () => removeTree(join(hierarchy, name)));
  }
}

/** Groups are removed from the leaves up; the files in them are not real ones. */
function removeTree(folder: string): boolean {
  if (!existsSync(folder)) return true;
  for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) removeTree(join(folder, entry.name));
  rmdirSync(folder);
  return true;
}

/** Names of groups at the top that begin with `prefix`. */
export function cgroupsNamed(prefix: string): string[] {
  const names = hierarchies().flatMap((hierarchy) => readdirSync(hierarchy).filter((name) => name.startsWith(prefix)));
  return [...new Set(names)].map((name) => `/${name}`);
}
