// Writes a kubeconfig file that needs no other file beside it.
import { readFileSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import type { KeyPair } from './certificates.ts';

interface Kubeconfig {
  readonly cluster: string;
  readonly url: string;
  /** Paths of PEM files. */
  readonly ca: string;
  readonly client: KeyPair;
}

export function writeKubeconfig(path: string, { cluster, url, ca, client }: Kubeconfig): void {
  const base64 = (file: string): string => readFileSync(file).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': cluster,
    clusters: [{ name: cluster, cluster: { server: url, 'certificate-authority-data': base64(ca) } }],
    users: [{ name: cluster, user: { 'client-certificate-data': base64(client.cert), 'client-key-data': base64(client.key) } }],
    contexts: [{ name: cluster, context: { cluster, user: cluster } }],
  };
  writeFileSync(path, stringify(config, { lineWidth: 0 }), { mode: 0o600 });
}
