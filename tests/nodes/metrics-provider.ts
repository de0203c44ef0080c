// The smallest provider of external metrics: an API server of one resource behind the cluster's own, that tells what a program of this machine reads.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Authority } from '../../hack/test-cluster/certificates.ts';

const group = 'external.metrics.k8s.io';
const version = 'v1beta1';
const base = `/apis/${group}/${version}`;

export interface MetricsProvider extends AsyncDisposable {
  /** What makes the cluster ask it: its Service, where that leads, and the API that it serves. */
  readonly objects: readonly object[];
}

/** Serves the metric `name` at an address of this machine that the API server reaches. `read` is asked with each request. */
export async function serveMetric(
  name: string,
  read: () => Promise<number>,
  { address, folder, namespace }: { address: string; folder: string; namespace: string },
): Promise<MetricsProvider> {
  const metadata = { name: 'metrics-provider', namespace };
  const authority = await Authority.create(folder, 'metrics');
  const { cert, key } = await authority.server('server', 'metrics', [`${metadata.name}.${namespace}.svc`]);
  const resource = { name, singularName: '', namespaced: true, kind: 'ExternalMetricValueList', verbs: ['get'] };
  const list = { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: `${group}/${version}`, resources: [resource] };
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
    const { pathname } = new URL(request.url ?? '', 'https://metrics');
    const send = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (pathname === base) return send(200, list);
    if (!pathname.startsWith(`${base}/namespaces/`) || !pathname.endsWith(`/${name}`)) return send(404, { kind: 'Status' });
    const value = (number: number) => ({
      metricName: name,
      metricLabels: {},
      timestamp: new Date().toISOString(),
      value: String(number),
    });
    read().then(
      (number) => send(200, { kind: resource.kind, apiVersion: list.groupVersion, metadata: {}, items: [value(number)] }),
      (error: Error) => send(500, { kind: 'Status', apiVersion: 'v1', status: 'Failure', message: error.message, code: 500 }),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, address, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    objects: [
      { apiVersion: 'v1', kind: 'Service', metadata, spec: { ports: [{ port }] } },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { ...metadata, labels: { 'kubernetes.io/service-name': metadata.name } },
        addressType: 'IPv4',
        endpoints: [{ addresses: [address], conditions: { ready: true } }],
        ports: [{ port }],
      },
      {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name: `${version}.${group}` },
        spec: {
          group,
          version,
          service: { ...metadata, port },
          caBundle: readFileSync(authority.ca.cert).toString('base64'),
          groupPriorityMinimum: 100,
          versionPriority: 100,
        },
      },
    ],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
