// What the operator wrote for jobs, judged: how much for each of them, and whether each pod was made once.
import type { ObjectMeta } from '#crds/resource.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Write } from './audit-log.ts';

/** What our transport calls itself before its version. */
const ours = /^windlass\//;

export const operatorWrites = (writes: readonly Write[]): Write[] => writes.filter(({ agent }) => ours.test(agent));

/** Writes for one job: its status, events about it, and its children, which bear its name before theirs. */
export function writesOfJob(writes: readonly Write[], { namespace = '', name }: ObjectMeta): Write[] {
  const isOf = (other: string): boolean => other === name || other.startsWith(`${name}-`) || other.startsWith(`${name}.`);
  return operatorWrites(writes).filter((write) => write.namespace === namespace && isOf(write.name));
}

/** Pods of jobs that run for the first time that were not made, were made twice, or were asked for in vain. */
export function faultsOf(writes: readonly Write[], jobs: readonly TrainingJob[]): string[] {
  const creates = operatorWrites(writes).filter(({ verb, resource }) => verb === 'create' && resource === 'pods');
  const made = new Map<string, number>();
  for (const { namespace, name, code } of creates) {
    if (code === 201) made.set(`${namespace}/${name}`, (made.get(`${namespace}/${name}`) ?? 0) + 1);
  }
  const refused = creates.filter(({ code }) => code !== 201).map(({ name, code }) => `${name} was refused with ${code}`);
  const wrong = jobs.flatMap(({ metadata, spec }) =>
    Array.from({ length: spec.parallelism.dataReplicate }, (_, rank) => `${metadata.namespace}/${metadata.name}-worker-${rank}`)
      .filter((name) => made.get(name) !== 1)
      .map((name) => `${name} was made ${made.get(name) ?? 0} times`),
  );
  const deleted = operatorWrites(writes).filter(({ verb, resource }) => verb === 'delete' && resource === 'pods');
  return [...refused, ...wrong, ...deleted.map(({ name }) => `${name} was deleted`)];
}
