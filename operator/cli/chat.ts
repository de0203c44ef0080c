// `windlass chat`: a conversation with a running service in the terminal.
import { createInterface } from 'node:readline';
import type { KubeObject } from '#crds/resource.ts';
import { fetchObjects } from '#operator/local/control.ts';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { chat } from './ask.ts';
import type { ChatMessage } from './ask.ts';
import { valueAt } from './objects.ts';

export interface ChatOptions {
  readonly state: StateDir;
  /** Service to talk to; may be left out when there is one. */
  readonly service: string | undefined;
  /** Asks this and ends. */
  readonly message: string | undefined;
  readonly input: NodeJS.ReadableStream;
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Talks until the input ends. Throws WL_NOT_RUNNING, or WL_OBJECT_NOT_FOUND if the service does not exist or is not ready. */
export async function runChat(options: ChatOptions): Promise<void> {
  const objects = await fetchObjects(options.state);
  if (!objects) throw new WindlassError('WL_NOT_RUNNING', `no windlass runs on ${options.state.path}`);
  const { name, url } = chooseService(objects, options.service);
  const messages: ChatMessage[] = [];
  const answer = async (content: string) => {
    messages.push({ role: 'user', content });
    let text = '';
    for await (const piece of chat(url, messages, options.signal)) {
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
  options.write(`${name} at ${url}. An empty line or Ctrl-D ends.\n> `);
  for await (const line of createInterface({ input: options.input, signal: options.signal })) {
    if (line.trim() === '') return;
    await answer(line);
    options.write('> ');
  }
}

function chooseService(objects: readonly KubeObject[], wanted: string | undefined): { name: string; url: string } {
  const services = objects.filter(({ kind }) => kind === 'InferenceService');
  const names = services.map(({ metadata }) => metadata.name).join(', ') || 'none';
  const chosen =
    wanted === undefined && services.length === 1 ? services[0] : services.find(({ metadata }) => metadata.name === wanted);
  if (!chosen) {
    const what = wanted === undefined ? 'name the service to talk to' : `there is no InferenceService ${wanted}`;
    throw new WindlassError('WL_OBJECT_NOT_FOUND', `${what}; there are: ${names}`);
  }
  const url = valueAt(chosen, '.status.url');
  const ready = valueAt(chosen, '.status.conditions[?(@.type=="Ready")].status') === 'True';
  if (typeof url !== 'string' || !ready)
    throw new WindlassError('WL_OBJECT_NOT_FOUND', `InferenceService ${chosen.metadata.name} is not ready yet`);
  return { name: chosen.metadata.name, url };
}
