// One rank of two that saves a checkpoint through a shared folder; kills itself at a call of the file system where it is told so (PROBE_KILL_AT).
import { localDisk } from '#runtime/checkpoint/disk.ts';
import type { Disk, DiskFile } from '#runtime/checkpoint/disk.ts';
import { FolderExchange } from '#runtime/checkpoint/folder-exchange.ts';
import { saveCheckpoint } from '#runtime/checkpoint/save.ts';
import { contentsOf, shardsOfRank } from '#runtime/checkpoint/testing.ts';
import { probeLayout, probeTensors } from './save-probe-state.ts';

const setting = (name: string) => process.env[name] ?? '';
const [root, rank, step] = [setting('PROBE_ROOT'), Number(setting('PROBE_RANK')), Number(setting('PROBE_STEP'))];
const killAt = Number(process.env['PROBE_KILL_AT'] ?? Infinity);
let calls = 0;

/** Counts all calls of an object that stands for the file system. */
function counting<T extends Disk | DiskFile>(of: T): T {
  return new Proxy(of, {
    get: (target, name) => {
      const method = Reflect.get(target, name) as ((...args: unknown[]) => Promise<unknown>) | undefined;
      if (!method) return undefined;
      return async (...args: unknown[]) => {
        if (calls === killAt) process.kill(process.pid, 'SIGKILL');
        calls += 1;
        const result = await method.apply(target, args);
        return name === 'create' || name === 'open' ? counting(result as DiskFile) : result;
      };
    },
  });
}

const exchange = new FolderExchange({ folder: `${root}-talk`, rank, size: 2, deadlineMs: 30_000 });
const contents = contentsOf([], step, shardsOfRank(probeTensors(step), probeLayout, rank));
await saveCheckpoint(root, contents, { exchange, disk: counting(localDisk) });
process.stdout.write(String(calls));
