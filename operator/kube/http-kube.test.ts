import { setTimeout } from 'node:timers/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import type { Credentials } from './api-server.ts';
import { ManualClock } from './clock.ts';
import { isExpired } from './errors.ts';
import type { KubeError } from './errors.ts';
import { HttpKube } from './http-kube.ts';
import { follow, thrownBy } from './testing/contract.ts';
import { reply, startRestServer, status, testCertificate } from './testing/rest-server.ts';
import type { RestServer } from './testing/rest-server.ts';
import { Transport } from './transport.ts';
import type { TransportOptions } from './transport.ts';

const namespace = 'default';
const model = (name: string, spec: Model['spec'] = {}): Model => ({
  apiVersion: Model.apiVersion,
  kind: 'Model',
  metadata: { name, namespace },
  spec,
});
const at = (name: string) => ({ namespace, name });

let server: RestServer;
const open: Transport[] = [];
beforeEach(async () => {
  server = await startRestServer();
});
afterEach(async () => {
  for (const transport of open.splice(0)) transport.close();
  await server.close();
});

function connect(options: TransportOptions = {}, credentials: Partial<Credentials> = {}): HttpKube {
  const transport = new Transport(server.access(credentials), { jitter: () => 0, ...options });
  open.push(transport);
  return new HttpKube(transport, { jitter: () => 0.5 });
}

/** Answers the next requests that fit in another way, one after the other. */
function instead(fits: RegExp, ...answers: ((response: ServerResponse, request: IncomingMessage) => void)[]): void {
  server.intercept = (request, response) => {
    const answer = fits.test(`${request.method} ${request.url}`) ? answers.shift() : undefined;
    answer?.(response, request);
    return answer !== undefined;
  };
}

const tooMany = (response: ServerResponse) =>
  reply(response, 429, status(429, 'TooManyRequests', 'too many requests'), { 'retry-after': '0' });

describe('connections', () => {
  it('are reused: a thousand requests after the first ones cost no handshake', async () => {
    const client = connect({ maxRequests: 4 });
    const wave = (from: number) =>
      Promise.all(Array.from({ length: 50 }, (_, index) => client.create(Model, model(`m-${from + index}`))));
    await wave(0);
    const before = server.handshakes;
    expect(before).toBeLessThanOrEqual(4);
    for (let round = 1; round <= 20; round++) await wave(round * 50);
    expect(server.handshakes).toBe(before);
  });

  it('carry the client certificate, and are made anew when it changes', async () => {
    let subject: string | undefined;
    server.intercept = (request) => {
      subject = String((request.socket as TLSSocket).getPeerCertificate().subject?.CN);
      return false;
    };
    let credentials: Credentials = { headers: {}, ca: testCertificate.ca };
    const transport = new Transport({ url: server.url, namespace, credentials: async () => credentials });
    open.push(transport);
    const client = new HttpKube(transport);
    await client.list(Model);
    expect(subject).toBe('undefined');
    credentials = { headers: {}, ...testCertificate };
    await client.list(Model);
    expect(subject).toBe('windlass test');
  });

  it('to a server whose certificate nobody vouches for are refused', async () => {
    const client = connect({}, { ca: undefined });
    expect(await thrownBy(client.list(Model))).toMatchObject({ reason: 'Unavailable', message: /self-signed certificate/ });
  });

  it('that the server closed while they rested cost a request nothing', async () => {
    const client = connect({ maxRequests: 1 });
    await client.list(Model);
    instead(/POST/, (response) => response.socket!.destroy());
    expect(await client.create(Model, model('a'))).toMatchObject({ metadata: { name: 'a' } });
  });
});

describe('credentials', () => {
  it('are asked for each time, and once more when the server refuses them', async () => {
    const asked: boolean[] = [];
    const credentials = async ({ fresh } = { fresh: false }) => {
      asked.push(fresh);
      return { headers: { authorization: fresh ? 'Bearer new' : 'Bearer old' }, ca: testCertificate.ca };
    };
    const transport = new Transport({ url: server.url, namespace, credentials });
    open.push(transport);
    server.intercept = (request, response) => {
      if (request.headers.authorization === 'Bearer new') return false;
      reply(response, 401, status(401, 'Unauthorized', 'Unauthorized'));
      return true;
    };
    await new HttpKube(transport).create(Model, model('a'));
    expect(asked).toEqual([false, true]);
    server.intercept = (_, response) => {
      reply(response, 401, status(401, 'Unauthorized', 'Unauthorized'));
      return true;
    };
    expect(await thrownBy(new HttpKube(transport).list(Model))).toMatchObject({ reason: 'Unauthorized' });
    expect(asked).toHaveLength(4);
  });
});

describe('flow control', () => {
  it('of the server is obeyed: a refused request comes back after the time that was asked for', async () => {
    const clock = new ManualClock();
    const client = connect({ clock });
    instead(/POST/, (response) => reply(response, 429, status(429, 'TooManyRequests', 'later'), { 'retry-after': '7' }));
    const created = client.create(Model, model('a'));
    await vi.waitFor(() => expect(clock.nextTimerMs).toBe(7000), 60_000);
    expect(server.requests).toHaveLength(1);
    clock.advance(7000);
    await created;
    expect(server.requests).toHaveLength(2);
  });

  it('narrows what is under way to what the server takes, and every request comes through', async () => {
    let [running, most, refusals] = [0, 0, 0];
    const takes = 3;
    server.intercept = (_, response) => {
      if (running >= takes) {
        refusals += 1;
        tooMany(response);
        return true;
      }
      most = Math.max(most, ++running);
      response.on('close', () => (running -= 1));
      return false;
    };
    const client = connect({ maxRequests: 16 });
    await Promise.all(Array.from({ length: 200 }, (_, index) => client.create(Model, model(`m-${index}`))));
    expect((await server.kube.list(Model)).items).toHaveLength(200);
    expect(most).toBeLessThanOrEqual(takes);
    // Without a window each of 13 places would be refused again and again.
    expect(refusals).toBeLessThan(200);
  });

  it('gives up after ten refusals, with what the server said', async () => {
    server.intercept = (_, response) => {
      tooMany(response);
      return true;
    };
    const client = connect({ clock: { now: () => Date.now(), after: (_, fire) => (setImmediate(fire), () => {}) } });
    expect(await thrownBy(client.list(Model))).toMatchObject({ reason: 'TooManyRequests', retryAfterMs: 0 });
    expect(server.requests).toHaveLength(10);
  });
});

describe('failures', () => {
  it('of the server are waited out where it says when to come back, for reads only where it may have begun', async () => {
    const client = connect();
    const busy = (code: number, reason: string) => (response: ServerResponse) =>
      reply(response, code, status(code, reason, 'busy'), { 'retry-after': '0' });
    instead(/Models|models/, busy(503, 'ServiceUnavailable'), busy(504, 'Timeout'), busy(500, 'InternalError'));
    expect((await client.list(Model)).items).toEqual([]);
    instead(/POST/, busy(503, 'ServiceUnavailable'));
    await client.create(Model, model('a'));
    instead(/POST/, busy(504, 'Timeout'));
    expect(await thrownBy(client.create(Model, model('b')))).toMatchObject({ reason: 'Timeout' });
  });

  it('come with the message of the server and the fields that it refused', async () => {
    const client = connect();
    const causes = [{ field: 'spec.tasks[0].size', message: 'must be a number', reason: 'FieldValueInvalid' }];
    instead(/POST/, (response) => reply(response, 422, status(422, 'Invalid', 'the model is invalid', { causes })));
    expect(await thrownBy(client.create(Model, model('a')))).toMatchObject({
      reason: 'Invalid',
      message: 'the model is invalid',
      faults: [{ path: ['spec', 'tasks', 0, 'size'], message: 'must be a number' }],
    });
  });

  it('of a proxy in between, which speaks no JSON, are told as what they are', async () => {
    const client = connect();
    const page = (code: number) => (response: ServerResponse) => response.writeHead(code).end('<html>Bad Gateway</html>');
    instead(/GET/, page(502), page(200));
    expect(await thrownBy(client.list(Model))).toMatchObject({ reason: 'Unavailable', message: /answered 502/ });
    expect(await thrownBy(client.list(Model))).toMatchObject({ reason: 'Unavailable', message: /can't be read/ });
  });

  it('to answer in time, or at all, are Unavailable', async () => {
    const client = connect({ timeoutMs: 500 });
    instead(
      /GET/,
      () => {},
      (response) => response.writeHead(200, { 'content-length': '100' }).write('{'),
    );
    expect(await thrownBy(client.list(Model))).toMatchObject({ reason: 'Unavailable', message: /no answer within 0.5 s/ });
    expect(await thrownBy(client.list(Model))).toMatchObject({ reason: 'Unavailable' });
    server.cut();
    await server.close();
    expect(await thrownBy(connect().list(Model))).toMatchObject({ reason: 'Unavailable', message: /ECONNREFUSED/ });
    server = await startRestServer();
  });

  it('and successes are told to an observer', async () => {
    const seen: string[] = [];
    const client = connect({ onAnswer: ({ method, code }) => seen.push(`${method} ${code}`) });
    await client.create(Model, model('a'));
    await thrownBy(client.create(Model, model('a')));
    await thrownBy(client.get(Model, at('b')));
    expect(seen).toEqual(['POST 201', 'POST 409', 'GET 404']);
  });
});

describe('lists', () => {
  it('come page by page, and whole when the version of the pages expires in between', async () => {
    server.pageSize = 3;
    const client = connect();
    for (let index = 0; index < 8; index++) await server.kube.create(Model, model(`m-${index}`));
    const names = async () => (await client.list(Model, { namespace })).items.map(({ metadata }) => metadata.name);
    const all = Array.from({ length: 8 }, (_, index) => `m-${index}`);
    expect(await names()).toEqual(all);
    expect(server.requests.map((request) => /limit=500(&continue)?/.exec(request)?.[0])).toEqual([
      'limit=500',
      'limit=500&continue',
      'limit=500&continue',
    ]);
    server.requests.length = 0;
    instead(/continue=/, (response) => reply(response, 410, status(410, 'Expired', 'the continue token is too old')));
    expect(await names()).toEqual(all);
    expect(server.requests.map((request) => request.includes('limit'))).toEqual([true, true, false]);
  });
});

describe('watches', () => {
  const line = (type: string, name: string, resourceVersion: string) =>
    `${JSON.stringify({ type, object: { ...model(name), metadata: { name, namespace, resourceVersion } } })}\n`;

  /** A watch that answers with these pieces, each sent by itself. */
  async function pieces(
    response: ServerResponse,
    texts: readonly (string | Buffer)[],
    end: 'end' | 'cut' | 'stay',
  ): Promise<void> {
    response.writeHead(200);
    for (const text of texts) {
      response.write(text);
      await setTimeout(1);
    }
    if (end === 'end') response.end();
    if (end === 'cut') response.destroy();
  }
  const read = async (client: HttpKube, resourceVersion = '1') => {
    const said: string[] = [];
    const signal = new AbortController().signal;
    try {
      for await (const event of client.watch(Model, { resourceVersion, signal, bookmarks: true }))
        said.push(
          event.type === 'BOOKMARK' ? `BOOKMARK ${event.resourceVersion}` : `${event.type} ${event.object.metadata.name}`,
        );
    } catch (error) {
      said.push(`${(error as KubeError).reason}: ${(error as Error).message}`);
    }
    return said;
  };

  it('ask for bookmarks, an end within ten minutes, and only what they were told to', async () => {
    const client = connect();
    instead(/watch=1/, (response) => void pieces(response, [], 'end'));
    await read(client, '7');
    const [request] = server.requests;
    expect(request).toBe(
      'GET /apis/windlass.dev/v1alpha1/models?watch=1&allowWatchBookmarks=true&timeoutSeconds=450&resourceVersion=7',
    );
  });

  it('read lines that come in bits, many at once, and with characters cut in two', async () => {
    const client = connect();
    const bytes = Buffer.from(line('ADDED', 'a', '2').replace('"spec":{}', '"spec":{"description":"Größe"}'));
    const middle = bytes.indexOf('ö') + 1;
    const many = line('MODIFIED', 'b', '3') + line('DELETED', 'b', '4');
    const bookmark = `${JSON.stringify({ type: 'BOOKMARK', object: { kind: 'Model', metadata: { resourceVersion: '9' } } })}\n`;
    const texts = [bytes.subarray(0, middle), bytes.subarray(middle), many, ...bookmark];
    instead(/watch=1/, (response) => void pieces(response, texts, 'end'));
    expect(await read(client)).toEqual(['ADDED a', 'MODIFIED b', 'DELETED b', 'BOOKMARK 9']);
  });

  it('that are cut, or bring what is no event, end in an error after what came before', async () => {
    const client = connect();
    const first = line('ADDED', 'a', '2');
    instead(
      /watch=1/,
      (response) => void pieces(response, [first, first.slice(0, 40)], 'cut'),
      (response) => void pieces(response, [first, first.slice(0, 40)], 'end'),
      (response) => void pieces(response, [first, '{"type":\n'], 'end'),
      (response) => void pieces(response, [first, '{"type":"NEWS"}\n'], 'end'),
    );
    expect(await read(client)).toEqual(['ADDED a', expect.stringMatching(/^Unavailable: .* was cut/)]);
    expect(await read(client)).toEqual(['ADDED a', 'Unavailable: the watch was cut in the middle of a line']);
    expect(await read(client)).toEqual(['ADDED a', 'Unavailable: a line of the watch is not JSON']);
    expect(await read(client)).toEqual(['ADDED a', 'Unavailable: the watch sent an event of the unknown type NEWS']);
  });

  it('that fall silent end, to be begun again', async () => {
    const client = connect({ watchIdleMs: 500 });
    instead(/watch=1/, (response) => void pieces(response, [line('ADDED', 'a', '2')], 'stay'));
    expect(await read(client)).toEqual(['ADDED a']);
  });

  it('from a version that is too old say so, whether at once or on the way', async () => {
    const client = connect();
    const gone = status(410, 'Expired', 'too old resource version');
    instead(
      /watch=1/,
      (response) => reply(response, 410, gone),
      (response) => void pieces(response, [`${JSON.stringify({ type: 'ERROR', object: gone })}\n`], 'end'),
    );
    const watch = async () => {
      const signal = new AbortController().signal;
      for await (const _ of client.watch(Model, { resourceVersion: '1', signal })) expect.unreachable();
    };
    await expect(watch()).rejects.toSatisfy(isExpired);
    await expect(watch()).rejects.toSatisfy(isExpired);
  });

  it('bring objects as huge as etcd takes', async () => {
    const client = connect();
    const huge = line('ADDED', 'huge', '2').replace('"spec":{}', `"spec":{"description":"${'x'.repeat(1_400_000)}"}`);
    instead(/watch=1/, (response) => void pieces(response, [huge, line('ADDED', 'next', '3')], 'end'));
    expect(await read(client)).toEqual(['ADDED huge', 'ADDED next']);
  });

  it('go through without a handshake each, on connections of their own', async () => {
    const client = connect({ maxRequests: 1 });
    await using first = follow(client, Model, { namespace });
    await using second = follow(client, Model, { namespace });
    await Promise.all([first.said(1), second.said(1)]);
    await client.create(Model, model('a'));
    expect(await Promise.all([first.said(2), second.said(2)])).toEqual([
      ['END', 'ADDED a'],
      ['END', 'ADDED a'],
    ]);
    expect(server.handshakes).toBe(3);
  });
});
