// The API server as a pod finds it: address in the environment, account in files that the kubelet keeps up to date.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AccessError } from './api-server.ts';
import type { ApiServer, Credentials } from './api-server.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';

const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';
/** The kubelet renews the token long before it expires; client-go reads it as often. */
const rereadMs = 60_000;

export interface InClusterOptions {
  env?: Readonly<Record<string, string | undefined>>;
  folder?: string;
  clock?: Clock;
}

/** Whether this process runs in a pod that may talk to the API. */
export function isInCluster(env: InClusterOptions['env'] = process.env): boolean {
  return Boolean(env['KUBERNETES_SERVICE_HOST'] && env['KUBERNETES_SERVICE_PORT']);
}

/** Throws AccessError naming what is missing. */
export async function inCluster(options: InClusterOptions = {}): Promise<ApiServer> {
  const { env = process.env, folder = accountFolder, clock = systemClock } = options;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  if (!host || !port) throw new AccessError('KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod');
  const read = async (name: string): Promise<string> => {
    try {
      return (await readFile(join(folder, name), 'utf8')).trim();
    } catch (cause) {
      throw new AccessError(`the service account has no ${name} in ${folder}`, { cause });
    }
  };
  const account = async (): Promise<Credentials> => {
    const [token, ca] = await Promise.all([read('token'), read('ca.crt')]);
    return { headers: { authorization: `Bearer ${token}` }, ca };
  };
  let held = { credentials: await account(), readAt: clock.now() };
  return {
    url: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    namespace: await read('namespace').catch(() => 'default'),
    async credentials({ fresh } = { fresh: false }) {
      if (fresh || clock.now() - held.readAt >= rereadMs) held = { credentials: await account(), readAt: clock.now() };
      return held.credentials;
    },
  };
}
