// `windlass chat`: a conversation with a service in the terminal; with one of a cluster, through its API server.
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { InferenceService } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import type { Transport } from '#operator/kube/transport.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { chat, endpointAt } from './ask.ts';
import type { ChatMessage, Endpoint } from './ask.ts';
import { valueAt } from './objects.ts';
import { findObjects, parseReference } from './target/references.ts';
import type { Target } from './target/target.ts';

export interface ChatOptions {
  /** Service to talk to, as its name or KIND/NAME; may be left out when there is one. */
  readonly service: string | undefined;
  /** Asks this and ends. */
  readonly message: string | undefined;
  readonly input: NodeJS.ReadableStream;
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Talks until the input ends. Throws WL_NOT_RUNNING, or WL_OBJECT_NOT_FOUND if the service does not exist or is not ready. */
export async function runChat(target: Target, options: ChatOptions): Promise<void> {
  const words = options.service === undefined ? [] : [options.service];
  const { name: wanted } = parseReference(words, { nameFirst: true });
  const services = await findObjects(target, { kind: InferenceService }, [InferenceService]);
  const service = chooseService(services, wanted);
  const { name } = service.metadata;
  const endpoint = endpointOf(target, service);
  const messages: ChatMessage[] = [];
  const answer = async (content: string) => {
    messages.push({ role: 'user', content });
    let text = '';
    for await (const piece of chat(endpoint, messages, options.signal)) {
      text += piece;
      options.write(piece);
    }
    options.write('\n');
    messages.push({ role: 'assistant', content: text });
  };
  if (options.message !== undefined) {
    await answer(options.message);
    return;
  }
  options.write(`${name} at ${endpoint.url}. An empty line or Ctrl-D ends.\n> `);
  for await (const line of createInterface({ input: options.input, signal: options.signal })) {
    if (line.trim() === '') return;
    await answer(line);
    options.write('> ');
  }
}

function chooseService(services: readonly KubeObject[], wanted: string | undefined): KubeObject {
  const names = services.map(({ metadata }) => metadata.name).join(', ') || 'none';
  const chosen =
    wanted === undefined && services.length === 1 ? services[0] : services.find(({ metadata }) => metadata.name === wanted);
  if (!chosen) {
    const what = wanted === undefined ? 'name the service to talk to' : `there is no InferenceService ${wanted}`;
    throw new WindlassError('WL_OBJECT_NOT_FOUND', `${what}; there are: ${names}`);
  }
  const ready = valueAt(chosen, '.status.conditions[?(@.type=="Ready")].status') === 'True';
  if (typeof valueAt(chosen, '.status.url') !== 'string' || !ready)
    throw new WindlassError('WL_OBJECT_NOT_FOUND', `InferenceService ${chosen.metadata.name} is not ready yet`);
  return chosen;
}

function endpointOf(target: Target, service: KubeObject): Endpoint {
  const url = String(valueAt(service, '.status.url'));
  return target.kind === 'instance' ? endpointAt(url) : endpointBehind(target.transport, service, url);
}

/** The Service of a cluster by the proxy of its API server: no way into the network of pods is needed. */
function endpointBehind(transport: Transport, { metadata: { name, namespace = '' } }: KubeObject, url: string): Endpoint {
  const proxy = `/api/v1/namespaces/${encodeURIComponent(namespace)}/services/${encodeURIComponent(name)}:http/proxy`;
  return {
    url,
    async send(path, body, signal) {
      const method = body ? 'POST' : 'GET';
      const answer = await transport.open({ method, path: `${proxy}${path}`, body, accept: '*/*' }, signal);
      const headers = { 'content-type': answer.headers['content-type'] ?? '' };
      return new Response(Readable.toWeb(answer) as ReadableStream<Uint8Array>, { status: answer.statusCode ?? 502, headers });
    },
  };
}
