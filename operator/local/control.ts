// How other commands reach a running instance: JSON over HTTP on a unix socket that only this user can open.
import { createServer, request } from 'node:http';
import type { Server } from 'node:http';
import { rm } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import type { KubeObject } from '#crds/resource.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { StateDir } from './state-dir.ts';
import { formatProcess } from './state-lock.ts';

export interface ControlHandlers {
  readonly objects: () => Promise<readonly KubeObject[]>;
  /** Answers a call of `control-api.ts`. */
  readonly api: (call: string) => Promise<unknown>;
  readonly stop: () => void;
}

/** An instance that runs answers at once; one that is stuck never does. */
const answerTimeoutMs = 10_000;

/** Serves the control socket; that of an earlier process is taken over. The caller holds the lock of the state folder. */
export async function serveControl(path: string, handlers: ControlHandlers): Promise<Server> {
  await rm(path, { force: true });
  const server = createServer((asked, response) => {
    const end = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (asked.method === 'GET' && asked.url === '/objects') {
      handlers.objects().then(
        (objects) => end(200, objects),
        (error: unknown) => end(500, { message: String(error) }),
      );
    } else if (asked.method === 'POST' && asked.url === '/api') {
      text(asked)
        .then(handlers.api)
        .then(
          (answer) => end(200, answer),
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

/** The objects of the running instance; undefined if none runs. Throws WL_NOT_ANSWERING. */
export async function fetchObjects(state: StateDir): Promise<readonly KubeObject[] | undefined> {
  const text = await call(state, 'GET', '/objects');
  return text === undefined ? undefined : (JSON.parse(text) as KubeObject[]);
}

/** Asks the running instance to end. False if none runs. Throws WL_NOT_ANSWERING. */
export async function requestStop(state: StateDir): Promise<boolean> {
  return (await call(state, 'POST', '/stop')) !== undefined;
}

/** Passes a call of `control-api.ts` on. Undefined if none runs. Throws WL_NOT_ANSWERING. */
export async function requestApi(state: StateDir, body: string): Promise<unknown> {
  const answer = await call(state, 'POST', '/api', body);
  return answer === undefined ? undefined : JSON.parse(answer);
}

/** The body of the answer; undefined if nobody listens. */
function call(state: StateDir, method: string, path: string, body?: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const options = { socketPath: state.controlSocket, method, path, agent: false, timeout: answerTimeoutMs };
    const refuse = (message: string) => {
      asked.destroy();
      reject(new WindlassError('WL_NOT_ANSWERING', `the windlass of ${state.path}${formatProcess(state)} ${message}`));
    };
    const asked = request(options, (response) => {
      let answer = '';
      response.setEncoding('utf8');
      response.on('error', () => resolve(undefined));
      response.on('data', (chunk: string) => (answer += chunk));
      response.on('end', () => {
        if ((response.statusCode ?? 500) < 300) resolve(answer);
        else refuse(`answered ${response.statusCode}: ${answer}`);
      });
    });
    asked.on('timeout', () => refuse(`did not answer in ${answerTimeoutMs / 1000} s`));
    asked.on('error', () => resolve(undefined));
    asked.end(body);
  });
}
