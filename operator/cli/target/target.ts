// Opens what a command talks to, and says in our words what the API refuses.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { AccessError } from '#operator/kube/api-server.ts';
import { KubeError } from '#operator/kube/errors.ts';
import type { KubeErrorReason } from '#operator/kube/errors.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { inCluster, isInCluster } from '#operator/kube/in-cluster.ts';
import { fromKubeconfig } from '#operator/kube/kubeconfig.ts';
import { Transport } from '#operator/kube/transport.ts';
import { controlApi } from '#operator/local/control-api.ts';
import type { CommandApi } from '#operator/local/control-api.ts';
import { defaultStateDir, stateDirOf } from '#operator/local/state-dir.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import { chooseTarget } from './choose.ts';
import type { TargetFlags } from './choose.ts';

export interface InstanceTarget {
  readonly kind: 'instance';
  readonly api: CommandApi;
  readonly state: StateDir;
  /** An instance has all of its objects in view. */
  readonly namespace: undefined;
}

export interface ClusterTarget {
  readonly kind: 'cluster';
  readonly api: HttpKube;
  readonly transport: Transport;
  /** All of them if undefined. */
  readonly namespace: string | undefined;
}

export type Target = InstanceTarget | ClusterTarget;

export interface Caller {
  /** Called as `kubectl windlass`. */
  readonly isPlugin: boolean;
  readonly version: string;
  /** Longest wait for an answer of the API server. */
  readonly timeoutMs?: number;
}

/** Runs a command on what its flags name. Throws WindlassError only. */
export async function withTarget<T>(flags: TargetFlags, caller: Caller, command: (target: Target) => Promise<T>): Promise<T> {
  let target: Target | undefined;
  try {
    target = await openTarget(flags, caller);
    return await command(target);
  } catch (error) {
    throw commandError(error);
  } finally {
    if (target?.kind === 'cluster') target.transport.close();
  }
}

async function openTarget(flags: TargetFlags, { isPlugin, version, timeoutMs }: Caller): Promise<Target> {
  const hasKubeconfig = kubeconfigFiles().some((file) => existsSync(file));
  const chosen = chooseTarget(flags, {
    isPlugin,
    stateFolder: defaultStateDir,
    hasState: existsSync(defaultStateDir),
    hasCluster: hasKubeconfig || isInCluster(),
  });
  if (chosen === 'instance') {
    const state = stateDirOf(flags.state ?? defaultStateDir);
    return { kind: 'instance', api: controlApi(state), state, namespace: undefined };
  }
  const { kubeconfig, context, namespace, allNamespaces } = flags;
  const server =
    hasKubeconfig || kubeconfig !== undefined ? await fromKubeconfig({ file: kubeconfig, context }) : await inCluster();
  const transport = new Transport(server, {
    userAgent: `kubectl-windlass/${version}`,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  return {
    kind: 'cluster',
    api: new HttpKube(transport),
    transport,
    namespace: allNamespaces ? undefined : (namespace ?? server.namespace),
  };
}

/** Where kubectl looks. */
export function kubeconfigFiles(): string[] {
  const named = process.env['KUBECONFIG'];
  return named ? named.split(delimiter).filter((file) => file !== '') : [join(homedir(), '.kube/config')];
}

const codeOf: Partial<Record<KubeErrorReason, ErrorCode>> = {
  NotFound: 'WL_OBJECT_NOT_FOUND',
  Forbidden: 'WL_FORBIDDEN',
  Unauthorized: 'WL_CLUSTER_ACCESS',
  Conflict: 'WL_CONFLICT',
  Invalid: 'WL_REQUEST_INVALID',
  BadRequest: 'WL_REQUEST_INVALID',
};

/** What the API refused, with a code and a remedy. Other errors stay as they are. */
function commandError(error: unknown): unknown {
  if (error instanceof AccessError) return new WindlassError('WL_CLUSTER_ACCESS', error.message, { cause: error });
  if (!(error instanceof KubeError)) return error;
  const code = codeOf[error.reason] ?? 'WL_CLUSTER_UNREADY';
  return new WindlassError(code, error.message, { cause: error });
}
