import { Readable } from 'node:stream';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { InferenceService } from '#crds/v1alpha1/index.ts';
import { inferenceService } from '#operator/controllers/fixtures.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { reply, startRestServer, status } from '#operator/kube/testing/rest-server.ts';
import type { RestServer } from '#operator/kube/testing/rest-server.ts';
import { Transport } from '#operator/kube/transport.ts';
import { runChat } from './chat.ts';
import type { ChatOptions } from './chat.ts';
import type { ClusterTarget } from './target/target.ts';

const proxy = '/api/v1/namespaces/default/services/moby:http/proxy/v1';

let rest: RestServer;
let target: ClusterTarget;
let asked: { messages?: { role: string; content: string }[] }[];
let streaming: ServerResponse | undefined;
/** Writes what the model says by itself; else the test does. */
let says: string[] | undefined;

beforeEach(async () => {
  asked = [];
  says = ['Call ', 'me', ' Ishmael.'];
  rest = await startRestServer();
  rest.intercept = (request, response) => {
    if (request.url === `${proxy}/models`) reply(response, 200, { data: [{ id: 'moby', max_model_len: 256 }] });
    else if (request.url === `${proxy}/chat/completions`) void answer(request, response);
    else return false;
    return true;
  };
  const transport = new Transport(rest.access());
  target = { kind: 'cluster', api: new HttpKube(transport), transport, namespace: 'default' };
  await rest.kube.create(InferenceService, inferenceService('moby'));
  await rest.kube.patchStatus(
    InferenceService,
    { namespace: 'default', name: 'moby' },
    {
      url: 'http://moby.default.svc:8080',
      conditions: [{ type: 'Ready', status: 'True', reason: 'Serving', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' }],
    },
  );
});

afterEach(async () => {
  target.transport.close();
  await rest.close();
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  asked.push(JSON.parse(await text(request)) as (typeof asked)[number]);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  streaming = response;
  if (!says) return;
  for (const piece of says) say(piece);
  response.end('data: [DONE]\n\n');
}

const say = (piece: string) => streaming?.write(`data: ${JSON.stringify({ choices: [{ delta: { content: piece } }] })}\n\n`);

function talk(more: Partial<ChatOptions>) {
  const result = { out: '', ended: Promise.resolve() };
  result.ended = runChat(target, {
    service: undefined,
    message: undefined,
    input: Readable.from([]),
    write: (piece) => void (result.out += piece),
    signal: new AbortController().signal,
    ...more,
  });
  return result;
}

it('talks to a service of a cluster through the proxy of its API server, and remembers what was said', async () => {
  const chat = talk({ input: Readable.from(['Who are you?\n', 'And the whale?\n']) });
  await chat.ended;
  expect(chat.out).toBe(
    'moby at http://moby.default.svc:8080. An empty line or Ctrl-D ends.\n> Call me Ishmael.\n> Call me Ishmael.\n> ',
  );
  expect(asked.at(-1)?.messages?.map(({ role, content }) => `${role}: ${content}`)).toEqual([
    'user: Who are you?',
    'assistant: Call me Ishmael.',
    'user: And the whale?',
  ]);
});

it('prints each piece as it comes', async () => {
  says = undefined;
  const chat = talk({ message: 'Who are you?' });
  await vi.waitFor(() => expect(asked).toHaveLength(1), { timeout: 30_000 });
  say('Call');
  await vi.waitFor(() => expect(chat.out).toBe('Call'), { timeout: 30_000 });
  say(' me');
  await vi.waitFor(() => expect(chat.out).toBe('Call me'), { timeout: 30_000 });
  streaming?.end('data: [DONE]\n\n');
  await chat.ended;
  expect(chat.out).toBe('Call me\n');
});

it('says why the API server does not let it through, and which services there are', async () => {
  rest.intercept = (request, response) => {
    if (!request.url?.startsWith(proxy)) return false;
    reply(response, 403, status(403, 'Forbidden', 'services "moby" is forbidden: cannot get resource "services/proxy"'));
    return true;
  };
  await expect(talk({ message: 'x' }).ended).rejects.toThrow('the service answered 403: services "moby" is forbidden');
  await expect(talk({ message: 'x', service: 'pequod' }).ended).rejects.toThrow(
    'there is no InferenceService pequod; there are: moby',
  );
});
