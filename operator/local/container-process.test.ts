import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContainerProcess } from './container-process.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-container-'));
});
afterEach(() => rm(folder, { recursive: true }));

const start = (script: string, env: Record<string, string> = {}, command = ['windlass', '-e', script, '/data/x']) =>
  ContainerProcess.start({
    command,
    env,
    nodeEnv: { NODE_DIR: '/data/node' },
    mounts: [{ mountPath: '/data', folder: '/real' }],
    logPath: join(folder, 'logs', 'main.log'),
    workingDir: folder,
    windlassCommand: [process.execPath],
  });
const log = () => readFile(join(folder, 'logs', 'main.log'), 'utf8');

describe('container process', () => {
  it("rewrites mount paths in arguments and the pod's environment, leaves those of the machine alone, and keeps the whole output", async () => {
    const container = await start(
      `console.log(process.argv[1], process.env.DIR, process.env.OTHER, process.env.NODE_DIR); console.error('to stderr')`,
      {
        DIR: '/data/models',
        OTHER: '/database',
      },
    );
    expect(await container.exited).toMatchObject({ exitCode: 0 });
    expect((await log()).split('\n').sort()).toEqual(['', '/real/x /real/models /database /data/node', 'to stderr']);
  });

  it('passes none of our own variables on but the listed ones', async () => {
    process.env['WL_SECRET_CANARY'] = 'canary';
    const container = await start(`console.log(JSON.stringify(process.env))`);
    await container.exited;
    delete process.env['WL_SECRET_CANARY'];
    expect(await log()).not.toContain('canary');
  });

  it('gives 128 + signal as exit code', async () => {
    const container = await start(`process.kill(process.pid, 'SIGKILL')`);
    expect(await container.exited).toMatchObject({ exitCode: 137, signal: 'SIGKILL' });
  });

  it('gives 127 and a log line when the command does not exist', async () => {
    const container = await start('', {}, ['/no/such/command']);
    expect(await container.exited).toMatchObject({ exitCode: 127 });
    expect(await log()).toContain('ENOENT');
  });

  it('kills a process that ignores SIGTERM once the grace time is over', async () => {
    const container = await start(`process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)`);
    while (!(await log().catch(() => '')).includes('up')) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await container.stop(50)).toMatchObject({ exitCode: 137 });
  });
});
