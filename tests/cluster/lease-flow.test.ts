// Renewals of the operator's lease on an API server with flow control: they have a way of their own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { template } from './helm.ts';
import { connect, newNamespace } from './kube.ts';

let home: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'wl-flow-'));
  await build(['helm', 'kubectl'], (line) => process.stderr.write(`cluster: ${line}\n`));
}, 1_800_000);

afterAll(() => rmSync(home, { recursive: true, force: true }));

it('the API server takes them by the FlowSchema of the chart, and other requests of the operator as before', async () => {
  const { client, transport } = await connect();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  const namespace = await newNamespace(client);
  const file = join(home, 'chart.yaml');
  const values = [`fullnameOverride=${namespace}`, `watchNamespaces={${namespace}}`, 'crds.enabled=false'];
  const flags = ['--namespace', namespace, '--no-hooks', ...values.flatMap((value) => ['--set', value])];
  writeFileSync(file, await template(home, ...flags));
  await kubectl('apply', '-f', file);
  stack.defer(async () => void (await kubectl('delete', '-f', file, '--wait=false')));
  const token = (await kubectl('create', 'token', namespace, '--namespace', namespace)).trim();
  const { ca } = await transport.server.credentials({ fresh: false });
  const wayOf = (path: string): Promise<Way> => askedWay(new URL(path, transport.server.url), String(ca), token);

  const uidOf = (kind: string): Promise<string> =>
    kubectl('get', kind, `${namespace}-lease`, '--output=jsonpath={.metadata.uid}');
  const own = { schema: await uidOf('flowschema'), level: await uidOf('prioritylevelconfiguration') };
  const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  // It reads its own settings again after they changed.
  await vi.waitFor(async () => expect(await wayOf(`${leases}/windlass-operator`)).toEqual(own), {
    timeout: 60_000,
    interval: 100,
  });
  const others = await wayOf(`/api/v1/namespaces/${namespace}/pods`);
  expect(others.schema).not.toBe(own.schema);
  expect(others.level).not.toBe(own.level);
});

/** Uids of what the API server classified a request by. */
interface Way {
  readonly schema: unknown;
  readonly level: unknown;
}

function askedWay(url: URL, ca: string, token: string): Promise<Way> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { ca, headers: { authorization: `Bearer ${token}` } }, (response) => {
      response.resume();
      const { headers } = response;
      resolve({ schema: headers['x-kubernetes-pf-flowschema-uid'], level: headers['x-kubernetes-pf-prioritylevel-uid'] });
    });
    sent.on('error', reject).end();
  });
}

function kubectl(...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, ...args]);
}
