// Talks to a service as any client would: over HTTP, by the OpenAI protocol.
import { WindlassError } from '#runtime/api/errors.ts';

/** The text that the model puts after `prompt`, without sampling: the same question gets the same answer. */
export async function complete(url: string, model: string, prompt: string, maxTokens: number): Promise<string> {
  const body = { model: await servedModel(url, model), prompt, max_tokens: maxTokens, temperature: 0 };
  const answer = (await post(`${url}/v1/completions`, body)) as { choices?: { text?: string }[] };
  return answer.choices?.[0]?.text ?? '';
}

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** Streams the answer to a conversation, piece by piece. */
export async function* chat(
  url: string,
  model: string,
  messages: readonly ChatMessage[],
  maxTokens: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: await servedModel(url, model), messages, max_tokens: maxTokens, stream: true }),
    signal,
  });
  if (!response.ok || !response.body) throw await refusal(response);
  let pending = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + chunk).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
      const piece = JSON.parse(line.slice('data: '.length)) as { choices?: { delta?: { content?: string } }[] };
      const text = piece.choices?.[0]?.delta?.content;
      if (text) yield text;
    }
  }
}

/** The name that the service serves its model under; `fallback` while it does not say. */
async function servedModel(url: string, fallback: string): Promise<string> {
  const response = await fetch(`${url}/v1/models`);
  if (!response.ok) return fallback;
  const { data } = (await response.json()) as { data?: { id: string }[] };
  return data?.[0]?.id ?? fallback;
}

async function post(url: string, body: object): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  return await response.json();
}

async function refusal(response: Response): Promise<WindlassError> {
  const text = await response.text();
  let message = text;
  try {
    message = (JSON.parse(text) as { error?: { message?: string } }).error?.message ?? text;
  } catch {
    message = text || response.statusText;
  }
  return new WindlassError('WL_REQUEST_INVALID', `the service answered ${response.status}: ${message}`);
}
