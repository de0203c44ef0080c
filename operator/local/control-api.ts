// The API of a running instance for other commands of this machine: get, list and patch, over its control socket.
import { resources } from '#crds/v1alpha1/index.ts';
import type { KubeClient, KubeObject, ListOptions, ObjectKey, Preconditions, ResourceType } from '#operator/kube/client.ts';
import { Event, Pod, Service } from '#operator/kube/core.ts';
import { KubeError } from '#operator/kube/errors.ts';
import type { KubeErrorReason } from '#operator/kube/errors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { requestApi } from './control.ts';
import type { StateDir } from './state-dir.ts';

/** What commands need of the API. */
export type CommandApi = Pick<KubeClient, 'get' | 'list' | 'patch'>;

type Call =
  | { verb: 'get'; kind: string; key: ObjectKey }
  | { verb: 'list'; kind: string; options: ListOptions }
  | { verb: 'patch'; kind: string; key: ObjectKey; patch: object; options: Preconditions };

type Answer = { value: unknown } | { refused: { reason: KubeErrorReason; message: string } };

const types: readonly ResourceType[] = [...resources, Pod, Service, Event];

/** What the instance answers to a call; a refusal of the API is an answer, too. */
export async function answerCall(client: KubeClient, text: string): Promise<Answer> {
  try {
    return { value: await carryOut(client, JSON.parse(text) as Call) };
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    return { refused: { reason: error.reason, message: error.message } };
  }
}

async function carryOut(client: KubeClient, call: Call): Promise<unknown> {
  const type = types.find(({ kind }) => kind === call.kind);
  if (!type) throw new KubeError('NotFound', `there is no kind ${call.kind}`);
  if (call.verb === 'get') return await client.get(type, call.key);
  if (call.verb === 'list') return await client.list(type, call.options);
  return await client.patch(type, call.key, call.patch, call.options);
}

/** The API of the instance that runs on a state folder. Its methods throw KubeError, WL_NOT_RUNNING or WL_NOT_ANSWERING. */
export function controlApi(state: StateDir): CommandApi {
  const ask = async <T>(call: Call): Promise<T> => {
    const answer = (await requestApi(state, JSON.stringify(call))) as Answer | undefined;
    if (answer === undefined) throw new WindlassError('WL_NOT_RUNNING', `no windlass runs on ${state.path}`);
    if ('refused' in answer) throw new KubeError(answer.refused.reason, answer.refused.message);
    return answer.value as T;
  };
  return {
    get: (type, key) => ask({ verb: 'get', kind: type.kind, key }),
    list: (type, options = {}) => ask({ verb: 'list', kind: type.kind, options }),
    patch: <T extends KubeObject>(type: ResourceType<T>, key: ObjectKey, patch: object, options: Preconditions = {}) =>
      ask<T>({ verb: 'patch', kind: type.kind, key, patch, options }),
  };
}
