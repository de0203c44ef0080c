import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { ServiceProxy } from './service-proxy.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function backend(name: string) {
  const server = createServer((request, response) => response.end(`${name} ${request.url}`));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close());
  return { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

/** Of this process alone, as are its ports: the system hands out none so low. */
const host = `127.80.${(process.pid >> 8) & 255}.${process.pid & 255}`;
let lastPort = 7000;
const newPort = () => (lastPort += 1);

async function proxyOn(port: number) {
  const proxy = await ServiceProxy.listen(host, port);
  closers.push(() => proxy.close());
  return proxy;
}

const get = (port: number) =>
  fetch(`http://${host}:${port}/x`, { headers: { connection: 'close' } }).then((response) => response.text());

it('passes connections to the backends in turn, and to those left when one goes', async () => {
  const port = newPort();
  const proxy = await proxyOn(port);
  const [a, b] = [await backend('a'), await backend('b')];
  proxy.setBackends([a, b]);
  expect([await get(port), await get(port)].sort()).toEqual(['a /x', 'b /x']);
  proxy.setBackends([b]);
  expect([await get(port), await get(port)]).toEqual(['b /x', 'b /x']);
});

it('holds a connection until a backend is ready', async () => {
  const port = newPort();
  const proxy = await proxyOn(port);
  const answer = get(port);
  proxy.setBackends([await backend('late')]);
  expect(await answer).toBe('late /x');
});

it('names the address when the port is taken', async () => {
  const port = newPort();
  await proxyOn(port);
  await expect(ServiceProxy.listen(host, port)).rejects.toMatchObject({
    code: 'WL_PORT_TAKEN',
    message: expect.stringContaining(`${host}:${port}`),
  });
});
