// Which of two targets a command talks to: the embedded instance of a state folder, or a cluster. Pure.
import { WindlassError } from '#runtime/api/errors.ts';

/** As the command line gives them. */
export interface TargetFlags {
  readonly state?: string | undefined;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly namespace?: string | undefined;
  readonly allNamespaces?: boolean | undefined;
}

/** What is there to choose from. */
export interface Surroundings {
  /** Called as `kubectl windlass`. */
  readonly isPlugin: boolean;
  /** Folder that is taken without --state, and whether it is there. */
  readonly stateFolder: string;
  readonly hasState: boolean;
  /** Whether a kubeconfig, or the service account of a pod, was found. */
  readonly hasCluster: boolean;
}

/**
 * --state: the instance of that folder. Else a flag of clusters, or `kubectl windlass`: the cluster. Else what is there, the folder first.
 * Throws WL_USAGE for flags of both, and WL_NO_TARGET if nothing is there.
 */
export function chooseTarget(flags: TargetFlags, seen: Surroundings): 'instance' | 'cluster' {
  const clusterFlag = clusterFlagOf(flags);
  if (flags.state !== undefined && clusterFlag !== undefined)
    throw new WindlassError(
      'WL_USAGE',
      `--state names an instance of this machine, and ${clusterFlag} a cluster: give one of them`,
    );
  if (flags.state !== undefined) return 'instance';
  const wantsCluster = clusterFlag !== undefined || seen.isPlugin;
  if (!wantsCluster && seen.hasState) return 'instance';
  if (seen.hasCluster || flags.kubeconfig !== undefined) return 'cluster';
  const noCluster = 'no cluster: neither $KUBECONFIG nor ~/.kube/config names a file that is there';
  throw new WindlassError(
    'WL_NO_TARGET',
    wantsCluster ? noCluster : `there is no state folder ${seen.stateFolder} in this folder, and ${noCluster}`,
  );
}

function clusterFlagOf({ kubeconfig, context, namespace, allNamespaces }: TargetFlags): string | undefined {
  if (kubeconfig !== undefined) return '--kubeconfig';
  if (context !== undefined) return '--context';
  if (namespace !== undefined) return '--namespace';
  return allNamespaces ? '--all-namespaces' : undefined;
}
