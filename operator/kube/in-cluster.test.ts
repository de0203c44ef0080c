import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from './clock.ts';
import { inCluster, isInCluster } from './in-cluster.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'account-'));
  await writeFile(join(folder, 'token'), 'first\n');
  await writeFile(join(folder, 'ca.crt'), 'CA\n');
  await writeFile(join(folder, 'namespace'), 'team');
});
afterEach(() => rm(folder, { recursive: true }));

const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' };

describe('service account', () => {
  it('says where the server is, who we are and which namespace is ours', async () => {
    const server = await inCluster({ env, folder });
    expect([server.url.href, server.namespace]).toEqual(['https://10.0.0.1/', 'team']);
    expect(await server.credentials()).toEqual({ headers: { authorization: 'Bearer first' }, ca: 'CA' });
    const six = await inCluster({ env: { ...env, KUBERNETES_SERVICE_HOST: 'fd00::1' }, folder });
    expect(six.url.href).toBe('https://[fd00::1]/');
  });

  it('is read again every minute, and at once when the server refused it', async () => {
    const clock = new ManualClock();
    const server = await inCluster({ env, folder, clock });
    const token = async (fresh = false) => (await server.credentials({ fresh })).headers['authorization'];
    await writeFile(join(folder, 'token'), 'second');
    expect(await token()).toBe('Bearer first');
    clock.advance(60_000);
    expect(await token()).toBe('Bearer second');
    await writeFile(join(folder, 'token'), 'third');
    expect(await token(true)).toBe('Bearer third');
    expect(await token()).toBe('Bearer third');
  });

  it('is told to be missing, by name', async () => {
    expect(isInCluster({})).toBe(false);
    await expect(inCluster({ env: {}, folder })).rejects.toThrow('KUBERNETES_SERVICE_HOST');
    await rm(join(folder, 'token'));
    await expect(inCluster({ env, folder })).rejects.toThrow(`the service account has no token in ${folder}`);
  });
});
