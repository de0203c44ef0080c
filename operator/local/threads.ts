// How many threads a pod gets on a machine that it shares with the other ranks of its job.
import type { Pod } from '#operator/kube/core.ts';

/**
 * The variable for a pod's share of `cores`: an equal part for each rank of its job. Nothing for a pod that is alone: it uses all. What the pod
 * itself says wins, and what `env` of this process says holds for every pod.
 */
export function threadShare(pod: Pod, cores: number, env: Readonly<Record<string, string | undefined>>): { WL_THREADS?: string } {
  const world = pod.spec.containers[0]?.env?.find(({ name }) => name === 'WL_WORLD_SIZE')?.value;
  const ranks = Number(world ?? 1);
  if (!(ranks > 1) || env['WL_THREADS'] !== undefined) return {};
  return { WL_THREADS: String(Math.max(1, Math.floor(cores / ranks))) };
}
