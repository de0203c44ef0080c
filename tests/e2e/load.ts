// Clients that ask a service without a pause over connections that they keep, and hold every answer against what it must be.
import { Agent, request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';

export interface LoadOptions {
  /** Of the service, without a path. */
  readonly url: string;
  readonly model: string;
  readonly prompt: string;
  readonly maxTokens: number;
  /** What may be answered: the text of each model that is served in the course of the load. */
  readonly texts: readonly string[];
  /** Clients, each of which asks again as soon as it has its answer. */
  readonly clients: number;
}

export interface Load {
  /** Answers so far, whole and streamed. */
  readonly answered: number;
  readonly streamed: number;
  /** How often each of `texts` was answered. */
  readonly counts: ReadonlyMap<string, number>;
  /** Connections made so far. */
  readonly connections: number;
  /** Each request that failed, was cut, or was answered with anything else: when, how, and what went wrong. */
  readonly failures: readonly string[];
  /** Lets every client have its last answer. */
  stop(): Promise<void>;
}

/** Begins at once. A request is never tried again: whatever happens to it counts. */
export function startLoad({ url, model, prompt, maxTokens, texts, clients }: LoadOptions): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const sockets = new WeakSet<object>();
  const load = { answered: 0, streamed: 0, counts: new Map<string, number>(), connections: 0, failures: [] as string[] };
  const over = new AbortController();

  const ask = async (stream: boolean): Promise<string> => {
    const body = { model, prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true };
    const sent = request(`${url}/v1/completions`, { method: 'POST', agent, headers: { 'content-type': 'application/json' } });
    sent.once('socket', (socket) => {
      if (!sockets.has(socket)) load.connections += 1;
      sockets.add(socket);
    });
    sent.end(JSON.stringify(stream ? { ...body, stream, stream_options: { include_usage: true } } : body));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    let answer = '';
    for await (const chunk of response.setEncoding('utf8')) answer += chunk as string;
    if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${answer.slice(0, 300)}`);
    return stream ? textOfStream(answer, maxTokens) : textOf(JSON.parse(answer) as Completion, maxTokens);
  };
  const client = async (number: number): Promise<void> => {
    for (let count = number; !over.signal.aborted; count++) {
      const stream = count % 2 === 0;
      try {
        const text = await ask(stream);
        if (!texts.includes(text)) throw new Error(`the text is ${JSON.stringify(text)}`);
        load.counts.set(text, (load.counts.get(text) ?? 0) + 1);
        load.answered += 1;
        if (stream) load.streamed += 1;
      } catch (error) {
        // Enough to see what is wrong.
        if (load.failures.length >= 100) return;
        load.failures.push(`${new Date().toISOString()} ${stream ? 'stream' : 'whole'}: ${String(error)}`);
      }
    }
  };
  const ended = Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  return Object.assign(load, {
    async stop() {
      over.abort();
      await ended;
      agent.destroy();
    },
  });
}

interface Completion {
  readonly choices: readonly { readonly text: string; readonly finish_reason: string | null }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly message: string };
}

function textOf({ choices, usage }: Completion, maxTokens: number): string {
  const [choice] = choices;
  if (choice?.finish_reason !== 'length') throw new Error(`it ended by ${choice?.finish_reason}`);
  if (usage?.completion_tokens !== maxTokens) throw new Error(`it has ${usage?.completion_tokens} tokens`);
  return choice.text;
}

/** The whole text of a stream that has all its parts: pieces, the reason of its end, the usage, and the last word. */
function textOfStream(answer: string, maxTokens: number): string {
  const lines = answer.split('\n\n').filter((line) => line !== '');
  if (lines.at(-1) !== 'data: [DONE]') throw new Error(`the stream was cut after ${JSON.stringify(lines.at(-1))}`);
  const events = lines.slice(0, -1).map((line) => JSON.parse(line.slice('data: '.length)) as Completion);
  const pieces = events.flatMap(({ choices }) => choices);
  const text = pieces.map((piece) => piece.text).join('');
  const finish_reason = pieces.at(-1)?.finish_reason ?? null;
  return textOf({ choices: [{ text, finish_reason }], usage: events.at(-1)?.usage ?? null }, maxTokens);
}
