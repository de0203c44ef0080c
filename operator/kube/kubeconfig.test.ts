import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { Model } from '#crds/v1alpha1/index.ts';
import { ManualClock } from './clock.ts';
import { HttpKube } from './http-kube.ts';
import { fromKubeconfig } from './kubeconfig.ts';
import { startRestServer, testCertificate } from './testing/rest-server.ts';
import { Transport } from './transport.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
  file = join(folder, 'config');
});
afterEach(() => rm(folder, { recursive: true }));

const base64 = (text: string) => Buffer.from(text).toString('base64');

async function write(user: object, cluster: object = {}): Promise<void> {
  const named = (name: string) => ({ name, context: { cluster: 'here', user: 'me', namespace: `${name}-team` } });
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'one',
    clusters: [{ name: 'here', cluster: { server: 'https://127.0.0.1:6443', ...cluster } }],
    users: [{ name: 'me', user }],
    contexts: [named('one'), named('two')],
  };
  await writeFile(file, stringify(config));
}

// Each reads its file in a process of its own, which takes a second or more to start.
describe('kubeconfig', { timeout: 120_000 }, () => {
  it('with a client certificate opens a connection to its cluster', async () => {
    const server = await startRestServer();
    await writeFile(join(folder, 'ca.pem'), testCertificate.ca);
    await write(
      { 'client-certificate-data': base64(testCertificate.cert), 'client-key-data': base64(testCertificate.key) },
      { server: server.url.origin, 'certificate-authority': 'ca.pem' },
    );
    const transport = new Transport(await fromKubeconfig({ file }));
    expect((await new HttpKube(transport).list(Model)).items).toEqual([]);
    transport.close();
    await server.close();
  });

  it('names token, namespace and context', async () => {
    await write({ token: 'secret' });
    const one = await fromKubeconfig({ file });
    expect((await one.credentials()).headers).toEqual({ authorization: 'Bearer secret' });
    expect([one.url.href, one.namespace]).toEqual(['https://127.0.0.1:6443/', 'one-team']);
    expect((await fromKubeconfig({ file, context: 'two' })).namespace).toBe('two-team');
  });

  it('runs its exec plugin, and again when what it gave has expired', async () => {
    const count = join(folder, 'count');
    await writeFile(count, '');
    const script = `
      const fs = require('node:fs');
      fs.appendFileSync(${JSON.stringify(count)}, 'x');
      const runs = fs.statSync(${JSON.stringify(count)}).size;
      // The first token is over when it comes; the second lasts for an hour.
      const end = Date.now() + (runs === 1 ? -1000 : 3600e3);
      const status = { token: 'token-' + runs, expirationTimestamp: new Date(end).toISOString() };
      console.log(JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status }));`;
    await write({
      exec: {
        apiVersion: 'client.authentication.k8s.io/v1',
        command: process.execPath,
        args: ['-e', script],
        interactiveMode: 'Never',
      },
    });
    const clock = new ManualClock();
    const server = await fromKubeconfig({ file, clock });
    const token = async () => (await server.credentials()).headers['authorization'];
    expect(await token()).toBe('Bearer token-1');
    expect(await token()).toBe('Bearer token-1');
    clock.advance(5000);
    expect(await Promise.all([token(), token()])).toEqual(['Bearer token-2', 'Bearer token-2']);
    clock.advance(60_000);
    expect(await token()).toBe('Bearer token-2');
  });

  it('that can not be used says why', async () => {
    await expect(fromKubeconfig({ file })).rejects.toThrow(`the kubeconfig ${file} can't be read`);
    await write({ token: 'x' });
    await expect(fromKubeconfig({ file, context: 'three' })).rejects.toThrow('has no context three; it has one, two');
    await write({ token: 'x' }, { 'proxy-url': 'http://127.0.0.1:1' });
    await expect(fromKubeconfig({ file })).rejects.toThrow('behind a proxy');
    await write({
      exec: { apiVersion: 'client.authentication.k8s.io/v1', command: '/nowhere/plugin', interactiveMode: 'Never' },
    });
    await expect(fromKubeconfig({ file })).rejects.toThrow('the credentials of context one could not be had');
  });
});
