// The process that reads a kubeconfig: @kubernetes/client-node takes 85 MB, which go with it.
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import type { Credentials } from './api-server.ts';

/** What the process is started with, as JSON. */
export interface KubeconfigRequest {
  file?: string | undefined;
  context?: string | undefined;
}

/** What it answers: at its start, and to each message if credentials may change. */
export type KubeconfigAnswer =
  | { url: string; namespace: string; credentials: Credentials; changes: boolean }
  | { refused: string };

const { file, context } = JSON.parse(process.argv[2] ?? '{}') as KubeconfigRequest;
const config = new KubeConfig();

function load(): void {
  try {
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
  } catch (cause) {
    throw new Error(`the kubeconfig ${file ?? ''} can't be read: ${(cause as Error).message}`, { cause });
  }
  if (context === undefined) return;
  const names = config.getContexts().map(({ name }) => name);
  if (!names.includes(context)) throw new Error(`the kubeconfig has no context ${context}; it has ${names.join(', ')}`);
  config.setCurrentContext(context);
}

async function answer(): Promise<KubeconfigAnswer> {
  const name = config.getCurrentContext();
  const cluster = config.getCurrentCluster();
  if (!cluster) return { refused: `the context ${name || '(none)'} of the kubeconfig names no cluster` };
  if (cluster.proxyUrl) return { refused: `the cluster ${cluster.name} is behind a proxy (proxy-url), which is not supported` };
  const options: RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch (cause) {
    return { refused: `the credentials of context ${name} could not be had: ${(cause as Error).message}` };
  }
  const user = config.getCurrentUser();
  return {
    url: cluster.server,
    namespace: config.getContextObject(name)?.namespace ?? 'default',
    credentials: credentialsOf(options),
    changes: user?.exec !== undefined || user?.authProvider !== undefined,
  };
}

/** What client-node would give to a request of its own. */
function credentialsOf({ headers, auth, ca, cert, key, rejectUnauthorized, servername }: RequestOptions): Credentials {
  const given = Object.entries((headers ?? {}) as Record<string, unknown>);
  const basic = auth == null ? {} : { authorization: `Basic ${Buffer.from(auth).toString('base64')}` };
  const text = (value: unknown) => (Buffer.isBuffer(value) ? value.toString() : typeof value === 'string' ? value : undefined);
  return {
    headers: { ...Object.fromEntries(given.map(([name, value]) => [name.toLowerCase(), String(value)])), ...basic },
    ca: text(ca),
    cert: text(cert),
    key: text(key),
    rejectUnauthorized,
    servername,
  };
}

const tell = (told: KubeconfigAnswer) => process.send?.(told);

try {
  load();
  const first = await answer();
  tell(first);
  if ('changes' in first && first.changes) process.on('message', () => void answer().then(tell));
} catch (error) {
  tell({ refused: (error as Error).message });
}
