// The clients of the bench sse, all in one process: each reads streams to their ends, one after the other, and checks what they said.
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';

/** A line that it is asked. */
export interface ClientOrder {
  readonly url: string;
  readonly body: object;
  /** At the same time, and of each connection one after the other. */
  readonly streams: number;
  readonly requests: number;
  /** What every stream must say. */
  readonly text: string;
}

/** The answer. */
export interface ClientReport {
  /** With text, of all streams together. */
  readonly events: number;
  readonly bytes: number;
}

interface Chunk {
  readonly choices: readonly { readonly text?: string; readonly delta?: { readonly content?: string } }[];
}

for await (const line of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await readStreams(JSON.parse(line) as ClientOrder)));

/** Throws if a stream is not what it must be. */
async function readStreams({ url, body, streams, requests, text }: ClientOrder): Promise<ClientReport> {
  const agent = new Agent({ keepAlive: true });
  const received: Buffer[] = [];
  const reader = async () => {
    for (let turn = 0; turn < requests; turn += 1) received.push(await read(url, JSON.stringify(body), agent));
  };
  await Promise.all(Array.from({ length: streams }, reader));
  agent.destroy();
  let events = 0;
  for (const stream of received) {
    const parts = textsOf(stream.toString('utf8'));
    if (parts.join('') !== text)
      throw new Error(`a stream said ${JSON.stringify(parts.join(''))} instead of ${JSON.stringify(text)}`);
    events += parts.length;
  }
  return { events, bytes: received.reduce((sum, { length }) => sum + length, 0) };
}

async function read(url: string, body: string, agent: Agent): Promise<Buffer> {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const sent = request(url, { method: 'POST', agent, headers }).end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return await buffer(response);
}

/** The text of each event that has one. */
function textsOf(stream: string): string[] {
  const events = stream.split('\n\n');
  if (events.at(-2) !== 'data: [DONE]') throw new Error(`a stream ended with ${JSON.stringify(stream.slice(-200))}`);
  return events
    .slice(0, -2)
    .map((event) => (JSON.parse(event.slice('data: '.length)) as Chunk).choices[0]!)
    .map(({ text, delta }) => text ?? delta?.content ?? '')
    .filter((text) => text !== '');
}
