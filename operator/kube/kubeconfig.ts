// The API server of a kubeconfig: client certificates, tokens, exec plugins and OIDC, as @kubernetes/client-node reads them.
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { AccessError } from './api-server.ts';
import type { ApiServer, Credentials } from './api-server.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { plainKubeconfig } from './plain-kubeconfig.ts';
import type { KubeconfigAnswer, KubeconfigRequest } from './kubeconfig-process.ts';

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
  const plain = await plainKubeconfig(file, context);
  if (plain) return plain;
  const request: KubeconfigRequest = { file, context };
  const reader = fork(join(import.meta.dirname, 'kubeconfig-process.ts'), [JSON.stringify(request)], { execArgv: [] });
  const next = () =>
    new Promise<Exclude<KubeconfigAnswer, { refused: string }>>((resolve, reject) => {
      const failed = (why: unknown) => reject(new AccessError(`the process that reads the kubeconfig ended: ${String(why)}`));
      reader.once('error', failed).once('exit', failed);
      reader.once('message', (answer: KubeconfigAnswer) => {
        reader.off('error', failed).off('exit', failed);
        if ('refused' in answer) reject(new AccessError(answer.refused));
        else resolve(answer);
      });
    });
  const first = await next();
  // It ends by itself: at once if the credentials stay as they are, else with this process.
  reader.unref();
  reader.channel?.unref();
  let held = { credentials: first.credentials, askedAt: clock.now() };
  let asking: Promise<Credentials> | undefined;
  const ask = async (): Promise<Credentials> => {
    if (!reader.connected) throw new AccessError('the process that reads the kubeconfig was ended');
    const answered = next();
    reader.send('again');
    const { credentials } = await answered;
    held = { credentials, askedAt: clock.now() };
    return credentials;
  };
  return {
    url: new URL(first.url),
    namespace: first.namespace,
    async credentials({ fresh } = { fresh: false }) {
      if (!first.changes || (!fresh && clock.now() - held.askedAt < recheckMs)) return held.credentials;
      asking ??= ask().finally(() => (asking = undefined));
      return asking;
    },
  };
}
