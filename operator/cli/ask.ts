// Talks to a service as any client would: over HTTP, by the OpenAI protocol.
import { isErrorCode, WindlassError } from '#runtime/api/errors.ts';

/** A service that has not answered in full by then counts as not answering. */
const answerTimeoutMs = 120_000;
/** Tokens of an answer, unless the model's context is so short that half of it is less. */
const answerTokens = 128;

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** A server of the protocol, and the way to it. */
export interface Endpoint {
  /** For messages. */
  readonly url: string;
  /** The answer to a request for `path`: a POST if it has a body. */
  readonly send: (path: string, body: object | undefined, signal: AbortSignal) => Promise<Response>;
}

/** A server that this process reaches by itself. */
export function endpointAt(url: string): Endpoint {
  return {
    url,
    send: (path, body, signal) => {
      const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
      return fetch(`${url}${path}`, { ...(body ? post : {}), signal });
    },
  };
}

interface Served {
  readonly id: string;
  readonly maxTokens: number;
}

/** The text that the model puts after `prompt`, without sampling: the same question gets the same answer. */
export async function complete(endpoint: Endpoint, prompt: string, tokens: number, signal: AbortSignal): Promise<string> {
  const served = await servedModel(endpoint, signal);
  const body = { model: served.id, prompt, max_tokens: Math.min(tokens, served.maxTokens), temperature: 0 };
  const response = await ask(endpoint, '/v1/completions', signal, body);
  const answer = (await response.json()) as { choices?: { text?: string }[] };
  return answer.choices?.[0]?.text ?? '';
}

/** Streams the answer to a conversation, piece by piece. */
export async function* chat(endpoint: Endpoint, messages: readonly ChatMessage[], signal: AbortSignal): AsyncGenerator<string> {
  const served = await servedModel(endpoint, signal);
  const body = { model: served.id, messages, max_tokens: served.maxTokens, stream: true };
  const response = await ask(endpoint, '/v1/chat/completions', signal, body);
  let pending = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + chunk).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
      const piece = JSON.parse(line.slice('data: '.length)) as {
        choices?: { delta?: { content?: string } }[];
        error?: { message?: string };
      };
      if (piece.error) throw new WindlassError('WL_REQUEST_INVALID', `the service ended its answer: ${piece.error.message}`);
      const text = piece.choices?.[0]?.delta?.content;
      if (text) yield text;
    }
  }
}

async function servedModel(endpoint: Endpoint, signal: AbortSignal): Promise<Served> {
  const response = await ask(endpoint, '/v1/models', signal);
  const { data } = (await response.json()) as { data?: { id: string; max_model_len?: number }[] };
  const [model] = data ?? [];
  if (!model) throw new WindlassError('WL_OBJECT_NOT_FOUND', `${endpoint.url} serves no model`);
  const contextLength = model.max_model_len ?? 2 * answerTokens;
  return { id: model.id, maxTokens: Math.max(1, Math.min(answerTokens, Math.floor(contextLength / 2))) };
}

/** An answer that is one: what the service refuses is thrown with its words. */
async function ask({ url, send }: Endpoint, path: string, signal: AbortSignal, body?: object): Promise<Response> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]);
  const response = await send(path, body, limited).catch((cause: unknown) => {
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
    throw new WindlassError('WL_NOT_ANSWERING', `${url} did not answer: ${why}`, { cause });
  });
  if (!response.ok) throw refusal(response.status, (await response.text()) || response.statusText);
  return response;
}

/** What the service says, with its own code where it is one of ours. */
function refusal(status: number, text: string): WindlassError {
  const { message, code } = parseError(text) ?? { message: text };
  const fallback = status >= 500 ? 'WL_NOT_ANSWERING' : 'WL_REQUEST_INVALID';
  return new WindlassError(isErrorCode(code) ? code : fallback, `the service answered ${status}: ${message}`);
}

function parseError(text: string): { message?: string; code?: string } | undefined {
  try {
    const { error, kind, message } = JSON.parse(text) as {
      error?: { message?: string; code?: string };
      kind?: string;
      message?: string;
    };
    // An API server that stands in front of the service answers in its own words.
    return error ?? (kind === 'Status' && message !== undefined ? { message } : undefined);
  } catch {
    return undefined;
  }
}
