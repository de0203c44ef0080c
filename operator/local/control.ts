// How other commands reach a running instance: JSON over HTTP on a unix socket that only this user can open.
import { createServer, request } from 'node:http';
import type { Server } from 'node:http';
import { rm } from 'node:fs/promises';
import type { KubeObject } from '#crds/resource.ts';
import { WindlassError } from '#runtime/api/errors.ts';

export interface ControlHandlers {
  readonly objects: () => Promise<readonly KubeObject[]>;
  readonly stop: () => void;
}

/** Serves the control socket. Throws WL_STATE_IN_USE when another instance answers on it; a dead one's socket is taken over. */
export async function serveControl(path: string, handlers: ControlHandlers): Promise<Server> {
  if (await answers(path)) {
    throw new WindlassError('WL_STATE_IN_USE', `another windlass runs on this state folder (it answers on ${path})`);
  }
  await rm(path, { force: true });
  const server = createServer((asked, response) => {
    const end = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (asked.method === 'GET' && asked.url === '/objects') {
      handlers.objects().then(
        (objects) => end(200, objects),
        (error: unknown) => end(500, { message: String(error) }),
      );
    } else if (asked.method === 'POST' && asked.url === '/stop') {
      end(202, {});
      handlers.stop();
    } else end(404, { message: `no such path: ${asked.url}` });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return server;
}

/** The objects of the running instance; undefined if none runs. */
export async function fetchObjects(path: string): Promise<readonly KubeObject[] | undefined> {
  const text = await call(path, 'GET', '/objects');
  return text === undefined ? undefined : (JSON.parse(text) as KubeObject[]);
}

/** Asks the running instance to end. False if none runs. */
export async function requestStop(path: string): Promise<boolean> {
  return (await call(path, 'POST', '/stop')) !== undefined;
}

async function answers(path: string): Promise<boolean> {
  return (await call(path, 'GET', '/')) !== undefined;
}

function call(socketPath: string, method: string, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(text));
    });
    asked.on('error', () => resolve(undefined));
    asked.end();
  });
}
