// A test cluster never outlives the process that asked for it, and clusters don't get into each other's way.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, expect, test, vi } from 'vitest';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import type { ClusterAccess } from '../../hack/test-cluster/cluster.ts';
import { get } from '../../hack/test-cluster/wait.ts';

const patience = { timeout: 60_000, interval: 50 };
const owners: ChildProcess[] = [];
afterEach(() => {
  for (const owner of owners.splice(0)) owner.kill('SIGKILL');
});

test('two API servers run side by side and know nothing of each other', async () => {
  await using first = await startApiServer();
  await using second = await startApiServer({ gangScheduling: false });
  expect((await get(first, '/apis/scheduling.k8s.io/v1beta1')).status).toBe(200);
  expect((await get(second, '/apis/scheduling.k8s.io/v1beta1')).status).toBe(404);
  expect((await get({ ...first, token: second.token }, '/api')).status).toBe(401);
});

test('processes and folder are gone once a cluster is stopped', async () => {
  const cluster = await startApiServer();
  expect(processesOf(cluster).length).toBe(2);
  await cluster.stop();
  expect(processesOf(cluster)).toEqual([]);
  expect(existsSync(cluster.folder)).toBe(false);
});

test('processes and folder are gone once the owner of a cluster is killed', async () => {
  const { owner, access } = await startOwner();
  owner.kill('SIGKILL');
  await vi.waitFor(() => expect([processesOf(access), existsSync(access.folder)]).toEqual([[], false]), patience);
});

test('processes are gone once the supervisor of a cluster is killed, and the next start removes its folder', async () => {
  const { access } = await startOwner();
  const { pid } = JSON.parse(readFileSync(join(access.folder, 'owner.json'), 'utf8')) as { pid: number };
  process.kill(pid, 'SIGKILL');
  await vi.waitFor(() => expect(processesOf(access)).toEqual([]), patience);
  await using _next = await startApiServer();
  expect(existsSync(access.folder)).toBe(false);
});

test('a name is given to one cluster only', async () => {
  const name = `taken-${process.pid}`;
  await using _first = await startApiServer({ name });
  await expect(startApiServer({ name })).rejects.toThrow(
    `a cluster named ${name} is there already; stop it with hack/cluster down`,
  );
});

test('a flag that the API server does not know is told as it says it', async () => {
  await expect(startApiServer({ apiServerArgs: ['--no-such-flag'] })).rejects.toThrow(
    /kube-apiserver ended with 1:[^]*unknown flag: --no-such-flag/,
  );
});

async function startOwner(): Promise<{ owner: ChildProcess; access: ClusterAccess }> {
  const owner = spawn(process.execPath, [join(import.meta.dirname, 'owner.ts')], { stdio: ['pipe', 'pipe', 'inherit'] });
  owners.push(owner);
  for await (const line of createInterface({ input: owner.stdout })) return { owner, access: JSON.parse(line) as ClusterAccess };
  throw new Error('the owner ended before its cluster was up');
}

/** Command lines of the processes that name the folder of the cluster. */
function processesOf({ folder }: ClusterAccess): string[] {
  return globSync('/proc/[0-9]*/cmdline')
    .map((file) => {
      try {
        return readFileSync(file, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((line) => line.includes(`${folder}/`));
}
