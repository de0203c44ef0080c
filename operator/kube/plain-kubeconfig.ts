// Kubeconfigs that hold their credentials as they are: read here at once. Everything else is left to @kubernetes/client-node, which takes
// half a second to start: more than a command that prints a table may.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import type { ApiServer } from './api-server.ts';

interface Kubeconfig {
  'current-context'?: string;
  contexts?: { name: string; context: { cluster: string; user: string; namespace?: string } }[];
  clusters?: { name: string; cluster: Record<string, unknown> & { server: string } }[];
  users?: { name: string; user: Record<string, unknown> | null }[];
}

/** Keys that mean what they say. Any other one, such as `exec`, `auth-provider`, `proxy-url` or `as`, is for others to read. */
const clusterKeys = new Set([
  'server',
  'certificate-authority',
  'certificate-authority-data',
  'insecure-skip-tls-verify',
  'tls-server-name',
]);
const userKeys = new Set(['client-certificate', 'client-certificate-data', 'client-key', 'client-key-data', 'token']);

/** Undefined if there is anything in it that this does not understand, or if there is no such file, context or cluster. */
export async function plainKubeconfig(file: string | undefined, context: string | undefined): Promise<ApiServer | undefined> {
  try {
    const [path, another] = file === undefined ? defaultFiles() : [file];
    if (path === undefined || another !== undefined) return undefined;
    return await serverOf(parse(await readFile(path, 'utf8')) as Kubeconfig, dirname(path), context);
  } catch {
    return undefined;
  }
}

function defaultFiles(): string[] {
  const named = process.env['KUBECONFIG'];
  return named ? named.split(delimiter).filter((file) => file !== '') : [join(homedir(), '.kube/config')];
}

async function serverOf(config: Kubeconfig, folder: string, wanted: string | undefined): Promise<ApiServer | undefined> {
  const context = config.contexts?.find(({ name }) => name === (wanted ?? config['current-context']))?.context;
  const cluster = config.clusters?.find(({ name }) => name === context?.cluster)?.cluster;
  const user = config.users?.find(({ name }) => name === context?.user)?.user ?? {};
  if (!context || !cluster) return undefined;
  if (!Object.keys(cluster).every((key) => clusterKeys.has(key)) || !Object.keys(user).every((key) => userKeys.has(key)))
    return undefined;
  /** The text of a key, or of the file that it names. */
  const text = async (from: Record<string, unknown>, key: string): Promise<string | undefined> => {
    const [data, path] = [from[`${key}-data`], from[key]];
    if (typeof data === 'string') return Buffer.from(data, 'base64').toString();
    return typeof path === 'string' ? await readFile(resolve(folder, path), 'utf8') : undefined;
  };
  const { token } = user;
  const credentials = {
    headers: typeof token === 'string' ? { authorization: `Bearer ${token}` } : {},
    ca: await text(cluster, 'certificate-authority'),
    cert: await text(user, 'client-certificate'),
    key: await text(user, 'client-key'),
    ...(cluster['insecure-skip-tls-verify'] === true ? { rejectUnauthorized: false } : {}),
    ...(typeof cluster['tls-server-name'] === 'string' ? { servername: cluster['tls-server-name'] } : {}),
  };
  return { url: new URL(cluster.server), namespace: context.namespace ?? 'default', credentials: async () => credentials };
}
