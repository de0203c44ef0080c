// An API for tests that refuses what the operator's roles do not grant, as the API server of a cluster would, and notes what was asked for.
import type { ResourceType } from '#crds/resource.ts';
import type { KubeClient, ObjectKey } from '#operator/kube/client.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { aroundWrites } from '#operator/kube/write-hook.ts';
import { access } from './access.ts';
import type { Verb } from './access.ts';

/** `verb resource`, such as `patch trainingjobs.windlass.dev/status`. */
type Use = `${Verb} ${string}`;

const useOf = (verb: Verb, { plural, group }: ResourceType, subresource?: string): Use =>
  `${verb} ${group === '' ? plural : `${plural}.${group}`}${subresource === undefined ? '' : `/${subresource}`}`;

/** Everything that the table grants. */
export function granted(): Set<Use> {
  return new Set(access.flatMap(({ type, subresource, verbs }) => verbs.map((verb) => useOf(verb, type, subresource))));
}

/** The client with the rights of the operator; `uses` gets what it asked for. */
export function guardedKube(client: KubeClient, uses: Set<string>): KubeClient {
  const ask = (verb: Verb, type: ResourceType, key: Partial<ObjectKey>, subresource?: string): void => {
    const allowed = access.some(
      (rule) =>
        rule.type.plural === type.plural &&
        rule.type.group === type.group &&
        rule.subresource === subresource &&
        rule.verbs.includes(verb) &&
        (rule.names === undefined || rule.names.includes(key.name ?? '')),
    );
    const use = useOf(verb, type, subresource);
    if (!allowed) throw new KubeError('Forbidden', `the table of access does not grant: ${use}`);
    uses.add(use);
  };
  const writing = aroundWrites(client, async (verb, type, key, act) => {
    if (verb === 'patchStatus') ask('patch', type, key, 'status');
    else ask(verb === 'apply' ? 'patch' : verb, type, key);
    return await act();
  });
  return {
    ...writing,
    get: async (type, key) => {
      ask('get', type, key);
      return await client.get(type, key);
    },
    list: async (type, options) => {
      ask('list', type, {});
      return await client.list(type, options);
    },
    // A server that does not send what exists with a watch is asked for a list first.
    watch: (type, options) => {
      ask('watch', type, {});
      if (options.resourceVersion === undefined) ask('list', type, {});
      return client.watch(type, options);
    },
  };
}
