import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isPodReady, Pod, Secret, Service } from '#operator/kube/core.ts';
import type { Container, Volume } from '#operator/kube/core.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { ProcessKubelet } from './kubelet.ts';

let stateDir: string;
let client: MemoryKube;
let kubelet: ProcessKubelet;
let errors: string[];

const newKubelet = () =>
  new ProcessKubelet({
    client,
    stateDir,
    workingDir: stateDir,
    windlassCommand: [],
    nodeEnv: {},
    onError: (error, object) => errors.push(`${object}: ${error.code}`),
  });

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'wl-kubelet-'));
  client = new MemoryKube({ alsoServes: [Secret] });
  errors = [];
  kubelet = newKubelet();
  await kubelet.start();
});
afterEach(async () => {
  await kubelet.stop();
  rmSync(stateDir, { recursive: true });
});

interface PodOptions {
  script: string;
  restartPolicy?: Pod['spec']['restartPolicy'];
  container?: Partial<Container>;
  graceSeconds?: number;
  subdomain?: string;
  volumes?: Volume[];
}

const createPod = (
  name: string,
  { script, restartPolicy = 'Never', container = {}, graceSeconds = 5, subdomain, volumes }: PodOptions,
) =>
  client.create(Pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app: 'x' } },
    spec: {
      nodeName: 'here',
      ...(subdomain === undefined ? {} : { hostname: name, subdomain }),
      ...(volumes ? { volumes } : {}),
      restartPolicy,
      terminationGracePeriodSeconds: graceSeconds,
      containers: [
        {
          name: 'main',
          image: 'local',
          command: [process.execPath, '-e', script],
          env: [{ name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
          ...container,
        },
      ],
    },
  });

const pod = (name: string) => client.get(Pod, { namespace: 'default', name });
const log = (name: string) => {
  const path = join(stateDir, 'logs/default', name, 'main.log');
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
};

/** Waits until `condition` gives something; what it throws counts as not yet. */
async function until<T>(condition: () => Promise<T> | T): Promise<NonNullable<T>> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline;) {
    const value = await Promise.resolve()
      .then(condition)
      .catch(() => undefined);
    if (value !== undefined && value !== null && value !== false) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited in vain; errors: ${errors.join('; ')}`);
}

const untilPod = (name: string, test: (pod: Pod) => boolean) =>
  until(async () => {
    const current = await pod(name);
    return test(current) ? current : undefined;
  });

/** A server that answers /yes with the pod's name, and /maybe as the last line of its commands says. */
const serverScript = (name: string) => `
  let ok = true;
  require('node:http').createServer((request, response) => {
    if (request.url === '/break') ok = false;
    response.writeHead(request.url === '/maybe' && !ok ? 503 : 200).end('${name}');
  }).listen(7000, process.env.POD_IP);`;
/** Often asked, and never found dead because a busy machine takes its time to answer. */
const probe = { httpGet: { path: '/maybe', port: 7000 }, periodSeconds: 0.02, timeoutSeconds: 60, failureThreshold: 2 };

describe('pods', () => {
  it('see the keys of a Secret that they ask for as files, while they live, and start without it', async () => {
    const data = { bearerToken: Buffer.from('open sesame').toString('base64'), other: Buffer.from('mine').toString('base64') };
    const metadata = { name: 'data', namespace: 'default' };
    await client.create(Secret, { apiVersion: 'v1', kind: 'Secret', metadata, type: 'Opaque', data });
    const script = `const { readdirSync, readFileSync, statSync } = require('fs');
      const dir = process.env.SECRET_DIR;
      for (const name of readdirSync(dir)) console.log(name, (statSync(dir + '/' + name).mode & 0o777).toString(8), readFileSync(dir + '/' + name, 'utf8'));
      console.log('end', dir)`;
    for (const name of ['data', 'missing']) {
      await createPod(name, {
        script,
        container: {
          env: [{ name: 'SECRET_DIR', value: '/var/run/secrets/x' }],
          volumeMounts: [{ name: 's', mountPath: '/var/run/secrets/x', readOnly: true }],
        },
        volumes: [
          { name: 's', secret: { secretName: name, optional: true, items: [{ key: 'bearerToken', path: 'bearerToken' }] } },
        ],
      });
      await untilPod(name, ({ status }) => status?.phase === 'Succeeded');
    }
    expect(log('data')).toMatch(/^bearerToken 600 open sesame\nend /);
    expect(log('missing')).toMatch(/^end /);
    const folder = log('data').trim().split(' ').at(-1)!;
    await until(() => !existsSync(folder));
  });

  it('runs a pod to its end and reports address, times, exit code and last words', async () => {
    await createPod('a', { script: `require('fs').writeFileSync(process.env.WL_TERMINATION_LOG, 'bye'); process.exit(3)` });
    const { status } = await untilPod('a', ({ status }) => status?.phase === 'Failed');
    expect(status?.podIP).toMatch(/^127\./);
    expect(status?.containerStatuses?.[0]).toMatchObject({
      restartCount: 0,
      ready: false,
      state: { terminated: { exitCode: 3, message: 'bye', startedAt: expect.any(String), finishedAt: expect.any(String) } },
    });
    expect(status?.startTime).toBeDefined();
  });

  it('ends as failed, with the reason, what can not be started at all', async () => {
    await createPod('a', { script: '', container: { command: ['/no/such/program'] } });
    const { status } = await untilPod('a', ({ status }) => status?.phase === 'Failed');
    expect(status?.containerStatuses?.[0]?.state?.terminated?.exitCode).toBe(127);
    expect(log('a')).toContain('ENOENT');
  });

  it('starts a container that shall always run again, with a back-off, and keeps how it ended', async () => {
    await createPod('a', { script: 'process.exit(2)', restartPolicy: 'Always' });
    const waiting = await untilPod('a', ({ status }) => status?.containerStatuses?.[0]?.state?.waiting !== undefined);
    expect(waiting.status?.containerStatuses?.[0]).toMatchObject({
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'restarts in 1 s' } },
      lastState: { terminated: { exitCode: 2 } },
    });
    await untilPod('a', ({ status }) => (status?.containerStatuses?.[0]?.restartCount ?? 0) >= 2);
  });

  it('is ready while its probe passes, and starts anew when it is no longer alive', async () => {
    await createPod('a', { script: serverScript('a'), restartPolicy: 'Always', container: { readinessProbe: probe } });
    const { status } = await untilPod('a', isPodReady);
    await fetch(`http://${status?.podIP}:7000/break`);
    await untilPod('a', (current) => !isPodReady(current));
    await createPod('b', {
      script: serverScript('b'),
      restartPolicy: 'Always',
      container: { startupProbe: { ...probe, failureThreshold: 500 }, livenessProbe: probe },
    });
    const ip = (await untilPod('b', (current) => current.status?.podIP !== undefined)).status?.podIP;
    await until(() => fetch(`http://${ip}:7000/break`));
    await untilPod('b', (current) => current.status?.containerStatuses?.[0]?.restartCount === 1);
  });

  it('gives a deleted pod its grace time, then takes it from the API', async () => {
    await createPod('a', {
      script: `process.on('SIGTERM', () => { console.log('saved'); process.exit() }); console.log('up'); setInterval(() => {}, 1000)`,
    });
    await until(() => log('a').includes('up'));
    await client.delete(Pod, { namespace: 'default', name: 'a' });
    await until(async () => !(await client.list(Pod)).items.length);
    expect(log('a')).toContain('saved');
  });

  it('kills a deleted pod that does not end, in the shorter of two grace times', async () => {
    await createPod('a', {
      script: `process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)`,
      graceSeconds: 600,
    });
    await until(() => log('a').includes('up'));
    await client.delete(Pod, { namespace: 'default', name: 'a' });
    await client.delete(Pod, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 1 });
    await until(async () => !(await client.list(Pod)).items.length);
  });

  it('gives the same name to another pod when the first is gone', async () => {
    const first = await createPod('a', { script: 'setInterval(() => {}, 1000)' });
    await untilPod('a', ({ status }) => status?.phase === 'Running');
    await client.delete(Pod, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 0 });
    await createPod('a', { script: 'process.exit(5)' });
    const { metadata, status } = await untilPod('a', (current) => current.status?.phase === 'Failed');
    expect(metadata.uid).not.toBe(first.metadata.uid);
    expect(status?.containerStatuses?.[0]?.state?.terminated?.exitCode).toBe(5);
  });

  it('removes at its start the pods that an earlier life left unfinished, and keeps those that finished', async () => {
    await createPod('done', { script: '' });
    await untilPod('done', ({ status }) => status?.phase === 'Succeeded');
    await createPod('cut-off', { script: 'setInterval(() => {}, 1000)' });
    await untilPod('cut-off', ({ status }) => status?.phase === 'Running');
    await kubelet.stop();
    const names = async () => (await client.list(Pod)).items.map(({ metadata }) => metadata.name);
    expect(await names()).toEqual(['done']);
    await createPod('unstarted', { script: 'setInterval(() => {}, 1000)' });
    kubelet = newKubelet();
    await kubelet.start();
    expect(await names()).toEqual(['done']);
    expect(errors).toEqual([]);
  });

  it('tells pods the addresses of each other, as long as they run', async () => {
    const hosts = `require('fs').readFileSync(process.env.WL_HOSTS_FILE, 'utf8')`;
    await createPod('a', { script: `console.log('up'); setInterval(() => {}, 1000)`, subdomain: 'gang' });
    await until(() => log('a').includes('up'));
    const ip = (await pod('a')).status?.podIP;
    await createPod('b', { script: `console.log(${hosts})`, subdomain: 'gang' });
    await untilPod('b', ({ status }) => status?.phase === 'Succeeded');
    expect(log('b')).toContain(`${ip} a.gang a\n`);
    expect(log('b')).toMatch(/^127\.[\d.]+ b\.gang b\n/);
    await client.delete(Pod, { namespace: 'default', name: 'a' }, { gracePeriodSeconds: 0 });
    await createPod('c', { script: `while (${hosts}.includes('a.gang')); console.log(${hosts})` });
    await untilPod('c', ({ status }) => status?.phase === 'Succeeded');
    expect(log('c')).toMatch(/^127\.[\d.]+ c\n\n$/);
  });

  it('runs the pods of a job side by side, each with its share of the threads', async () => {
    const env = [{ name: 'WL_WORLD_SIZE', value: String(2 * availableParallelism()) }];
    const meets = `const fs = require('fs'); fs.writeFileSync('here-' + process.argv[1], '');
      while (!['x', 'y'].every((name) => fs.existsSync('here-' + name)));
      console.log('threads', process.env.WL_THREADS)`;
    for (const name of ['x', 'y'])
      await createPod(name, { script: '', container: { command: [process.execPath, '-e', meets, name], env } });
    for (const name of ['x', 'y']) await untilPod(name, ({ status }) => status?.phase === 'Succeeded');
    expect([log('x'), log('y')]).toEqual(['threads 1\n', 'threads 1\n']);
  });

  it('goes on after the watch of the API has expired', async () => {
    client.compact();
    await createPod('a', { script: '' });
    client.compact();
    await untilPod('a', ({ status }) => status?.phase === 'Succeeded');
    expect(errors).toEqual([]);
  });

  it('says why a pod could not be run, and ends it as failed', async () => {
    rmSync(join(stateDir, 'pods'), { recursive: true, force: true });
    writeFileSync(join(stateDir, 'pods'), 'not a folder');
    await createPod('a', { script: '' });
    const { status } = await untilPod('a', (current) => current.status?.phase === 'Failed');
    expect(status).toMatchObject({ reason: 'ContainerCannotRun', message: expect.stringMatching(/EEXIST|ENOTDIR/) });
    expect(errors).toHaveLength(1);
  });
});

describe('services', () => {
  it('that are headless are not listened for, and keep having no address', async () => {
    const spec = { selector: { app: 'x' }, clusterIP: 'None', ports: [{ port: 1, targetPort: 1 }] };
    await client.create(Service, { apiVersion: 'v1', kind: 'Service', metadata: { name: 'h', namespace: 'default' }, spec });
    await createPod('a', { script: '' });
    await untilPod('a', ({ status }) => status?.phase === 'Succeeded');
    expect((await client.get(Service, { namespace: 'default', name: 'h' })).spec.clusterIP).toBe('None');
    expect(errors).toEqual([]);
  });

  const createService = (port: number) =>
    client.create(Service, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'x', namespace: 'default' },
      spec: { selector: { app: 'x' }, ports: [{ port, targetPort: 7000 }] },
    });
  const address = () => until(async () => (await client.get(Service, { namespace: 'default', name: 'x' })).spec.clusterIP);
  const get = async (ip: string, port: number) =>
    await (await fetch(`http://${ip}:${port}/yes`, { headers: { connection: 'close' } })).text();

  it('pass connections on to the pods that are ready, keep their address, and say when their port is taken', async () => {
    const holder = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => holder.listen(0, '0.0.0.0', resolve));
    const { port } = holder.address() as AddressInfo;
    await createService(port);
    await until(() => errors.includes('service/x: WL_PORT_TAKEN'));
    await new Promise((resolve) => holder.close(resolve));

    const ip = await address();
    for (const name of ['a', 'b']) await createPod(name, { script: serverScript(name), container: { readinessProbe: probe } });
    const [a] = await Promise.all(['a', 'b'].map((name) => untilPod(name, isPodReady)));
    await until(async () => [await get(ip, port), await get(ip, port)].sort().join() === 'a,b');
    await fetch(`http://${a?.status?.podIP}:7000/break`);
    await untilPod('a', (current) => !isPodReady(current));
    await until(async () => (await get(ip, port)) === 'b' && (await get(ip, port)) === 'b');
    expect(errors).toEqual(['service/x: WL_PORT_TAKEN']);

    await kubelet.stop();
    kubelet = newKubelet();
    await kubelet.start();
    await createPod('c', { script: serverScript('c'), container: { readinessProbe: probe } });
    await untilPod('c', isPodReady);
    expect(await address()).toBe(ip);
    expect(await until(() => get(ip, port))).toBe('c');
  });
});
