// A whole cluster on this machine: pods run on two nodes, services and names lead to them, and our image runs in them.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadImage, loseNode, startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { imageName, windlassImage } from '../../hack/oci-image/image.ts';

let cluster: TestCluster;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-nodes-'));
  cluster = await startNodeCluster({ nodes: 2, say: (line) => process.stderr.write(`cluster: ${line}\n`) });
}, 3_600_000);

afterAll(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('two builds of the image have one digest, which a node takes', async () => {
  const [first, second] = [windlassImage(), windlassImage()];
  expect(second.digest).toBe(first.digest);
  expect(first.compressedBytes).toBeLessThan(150e6);
  const archive = join(folder, 'windlass.tar');
  writeFileSync(archive, first.archive);
  await loadImage(cluster, archive);
});

test('the image runs as Pod Security restricted wants it, with nothing to write to', async () => {
  await create(
    pod('version', 'node-1', { args: ['--version'], securityContext: { ...restricted, readOnlyRootFilesystem: true } }),
  );
  await kubectl('wait', 'pod/version', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=120s');
  expect(await kubectl('logs', 'version')).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test('a pod on one node reaches a pod on the other by the name of its Service', async () => {
  const serve = "require('node:http').createServer((_, answer) => answer.end('hello from ' + process.env.NODE)).listen(8080)";
  const probe = { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 };
  await create(
    pod('web', 'node-2', {
      command: ['/usr/bin/node', '-e', serve],
      env: [{ name: 'NODE', value: 'node-2' }],
      readinessProbe: probe,
    }),
  );
  await create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
  });
  await kubectl('wait', 'pod/web', '--for=condition=Ready', '--timeout=120s');
  const ask = `
    const until = Date.now() + 60_000;
    const again = (error) => (Date.now() < until ? setTimeout(go, 200) : (console.error(error), process.exit(1)));
    const go = () => fetch('http://web.default.svc.cluster.local/').then((answer) => answer.text()).then(console.log, again);
    go();`;
  await create(pod('client', 'node-1', { command: ['/usr/bin/node', '-e', ask] }));
  await kubectl('wait', 'pod/client', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=120s');
  expect(await kubectl('logs', 'client')).toBe('hello from node-2\n');
});

test('a command can be run in a pod, and there is no shell to run', async () => {
  expect(await kubectl('exec', 'web', '--', '/usr/bin/node', '-p', 'process.getuid()')).toBe('65532\n');
  await expect(kubectl('exec', 'web', '--', 'sh', '-c', 'true')).rejects.toThrow('executable file not found');
});

test('this machine reaches a Service as a pod does', async () => {
  const address = await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
  expect(await (await fetch(`http://${address}/`)).text()).toBe('hello from node-2');
});

test('a node that loses its power is seen to be gone, and the cluster lives on', async () => {
  loseNode(cluster, 'node-2');
  await kubectl('wait', 'node/node-2', '--for=condition=Ready=Unknown', '--timeout=240s');
  expect(await kubectl('get', 'node', 'node-1', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')).toBe('True');
});

const restricted = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

function pod(name: string, nodeName: string, container: object): object {
  const main = { name: 'main', image: imageName, imagePullPolicy: 'Never', securityContext: restricted, ...container };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: { nodeName, restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers: [main] },
  };
}

async function create(object: object): Promise<void> {
  const file = join(folder, 'object.json');
  writeFileSync(file, JSON.stringify(object));
  await kubectl('create', '-f', file);
}

async function kubectl(...args: string[]): Promise<string> {
  return (await promisify(execFile)(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args])).stdout;
}
