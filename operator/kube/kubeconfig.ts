// The API server of a kubeconfig: client certificates, tokens, exec plugins and OIDC, as @kubernetes/client-node reads them.
import type { RequestOptions } from 'node:https';
import { AccessError } from './api-server.ts';
import type { ApiServer, Credentials } from './api-server.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';

/** Exec plugins and OIDC are asked again when what they gave expires; that is looked at this often. */
const recheckMs = 5000;

export interface KubeconfigOptions {
  /** File; those of $KUBECONFIG, or ~/.kube/config, if absent. */
  file?: string | undefined;
  /** Context; the current one of the file if absent. */
  context?: string | undefined;
  clock?: Clock;
}

/** Throws AccessError naming what is missing or can't be used. */
export async function fromKubeconfig({ file, context, clock = systemClock }: KubeconfigOptions = {}): Promise<ApiServer> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  try {
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
  } catch (cause) {
    throw new AccessError(`the kubeconfig ${file ?? ''} can't be read: ${(cause as Error).message}`, { cause });
  }
  if (context !== undefined) {
    const names = config.getContexts().map(({ name }) => name);
    if (!names.includes(context)) throw new AccessError(`the kubeconfig has no context ${context}; it has ${names.join(', ')}`);
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  const name = config.getCurrentContext();
  if (!cluster) throw new AccessError(`the context ${name || '(none)'} of the kubeconfig names no cluster`);
  if (cluster.proxyUrl)
    throw new AccessError(`the cluster ${cluster.name} is behind a proxy (proxy-url), which is not supported`);

  const ask = async (): Promise<Credentials> => {
    const options: RequestOptions = {};
    try {
      await config.applyToHTTPSOptions(options);
    } catch (cause) {
      throw new AccessError(`the credentials of context ${name} could not be had: ${(cause as Error).message}`, { cause });
    }
    return credentialsOf(options);
  };
  let held = { credentials: await ask(), askedAt: clock.now() };
  return {
    url: new URL(cluster.server),
    namespace: config.getContextObject(name)?.namespace ?? 'default',
    async credentials({ fresh } = { fresh: false }) {
      if (fresh || clock.now() - held.askedAt >= recheckMs) held = { credentials: await ask(), askedAt: clock.now() };
      return held.credentials;
    },
  };
}

/** What client-node would give to a request of its own. */
function credentialsOf({ headers, auth, ca, cert, key, rejectUnauthorized, servername }: RequestOptions): Credentials {
  const given = Object.entries((headers ?? {}) as Record<string, unknown>).map(([name, value]) => [
    name.toLowerCase(),
    String(value),
  ]);
  const basic = auth == null ? {} : { authorization: `Basic ${Buffer.from(auth).toString('base64')}` };
  return {
    headers: { ...(Object.fromEntries(given) as Record<string, string>), ...basic },
    ca: ca as string | Buffer | undefined,
    cert: cert as string | Buffer | undefined,
    key: key as string | Buffer | undefined,
    rejectUnauthorized,
    servername,
  };
}
