import { expect, it } from 'vitest';
import { chooseTarget } from './choose.ts';
import type { Surroundings, TargetFlags } from './choose.ts';

const nothing: Surroundings = { isPlugin: false, stateFolder: '.windlass', hasState: false, hasCluster: false };
const both = { ...nothing, hasState: true, hasCluster: true };

it.each<[what: string, flags: TargetFlags, seen: Surroundings, chosen: string]>([
  ['--state names an instance, even one that is not there', { state: 'x' }, { ...both, hasState: false }, 'instance'],
  ['the state folder comes before the cluster', {}, both, 'instance'],
  ['a cluster is taken where no state folder is', {}, { ...both, hasState: false }, 'cluster'],
  ['kubectl windlass means the cluster, whatever is here', {}, { ...both, isPlugin: true }, 'cluster'],
  ['kubectl windlass --state means the instance', { state: 'x' }, { ...both, isPlugin: true }, 'instance'],
  ['--context means the cluster', { context: 'c' }, both, 'cluster'],
  ['--namespace means the cluster', { namespace: 'n' }, both, 'cluster'],
  ['--all-namespaces means the cluster', { allNamespaces: true }, both, 'cluster'],
  ['--kubeconfig means the cluster, though no other kubeconfig is there', { kubeconfig: 'k' }, nothing, 'cluster'],
])('%s', (_, flags, seen, chosen) => {
  expect(chooseTarget(flags, seen)).toBe(chosen);
});

it.each<[what: string, flags: TargetFlags, seen: Surroundings, code: string, message: string]>([
  [
    'nothing is here',
    {},
    nothing,
    'WL_NO_TARGET',
    'there is no state folder .windlass in this folder, and no cluster: neither $KUBECONFIG nor',
  ],
  ['kubectl finds no cluster', {}, { ...nothing, hasState: true, isPlugin: true }, 'WL_NO_TARGET', 'no cluster: neither'],
  [
    'a namespace of no cluster is asked for',
    { namespace: 'n' },
    { ...nothing, hasState: true },
    'WL_NO_TARGET',
    'no cluster: neither',
  ],
  [
    'flags of both are given',
    { state: 'x', context: 'c' },
    both,
    'WL_USAGE',
    '--state names an instance of this machine, and --context a cluster',
  ],
])('refuses when %s', (_, flags, seen, code, message) => {
  expect(() => chooseTarget(flags, seen)).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
  );
});
