// What tests put in the place of kubelets: logs of containers, answered by the paths and parameters of an API server.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { reply, status } from '#operator/kube/testing/rest-server.ts';

interface Container {
  readonly lines: string[];
  ended: boolean;
  readonly readers: Set<ServerResponse>;
}

export interface FakeLogs {
  /** For `intercept` of a RestServer. */
  readonly answer: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Prints a line in the container that runs in a pod, at this second and nanosecond of a minute. */
  print(pod: string, second: number, nanos: number, text: string): void;
  /** The container ends, and with it what follows its log. */
  end(pod: string): void;
  /** Another container runs in the pod from now on; the one before is the previous one. */
  restart(pod: string): void;
  /** The pod is another one of the same name: nothing is left of the logs before. */
  replace(pod: string): void;
  /** Cuts the connections of who follows. */
  cut(pod: string): void;
}

export function createFakeLogs(): FakeLogs {
  const pods = new Map<string, Container[]>();
  const containersOf = (pod: string): Container[] => {
    if (!pods.has(pod)) pods.set(pod, [{ lines: [], ended: false, readers: new Set() }]);
    return pods.get(pod)!;
  };
  const current = (pod: string) => containersOf(pod).at(-1)!;
  const end = (pod: string) => {
    const container = current(pod);
    container.ended = true;
    for (const reader of container.readers) reader.end();
  };
  return {
    answer(request, response) {
      const url = new URL(request.url ?? '/', 'https://localhost');
      const pod = /\/pods\/([^/]+)\/log$/.exec(url.pathname)?.[1];
      if (pod === undefined) return false;
      const query = url.searchParams;
      const container = query.get('previous') === 'true' ? containersOf(pod).at(-2) : current(pod);
      if (!container) {
        reply(response, 400, status(400, 'BadRequest', `previous terminated container in pod "${pod}" not found`));
        return true;
      }
      const since = query.get('sinceTime');
      const fitting = container.lines.filter((line) => since === null || line.slice(0, 19) >= since.slice(0, 19));
      const tail = query.get('tailLines');
      response.writeHead(200, { 'content-type': 'text/plain' });
      response.write((tail === null ? fitting : fitting.slice(-Number(tail))).join(''));
      if (query.get('follow') !== 'true' || container.ended) response.end();
      else {
        container.readers.add(response);
        response.once('close', () => container.readers.delete(response));
      }
      return true;
    },
    print(pod, second, nanos, text) {
      const time = `2026-11-26T10:00:${String(second).padStart(2, '0')}.${String(nanos).padStart(9, '0')}Z`;
      const container = current(pod);
      container.lines.push(`${time} ${text}\n`);
      for (const reader of container.readers) reader.write(`${time} ${text}\n`);
    },
    end,
    restart(pod) {
      end(pod);
      containersOf(pod).push({ lines: [], ended: false, readers: new Set() });
    },
    replace(pod) {
      end(pod);
      pods.delete(pod);
    },
    cut(pod) {
      for (const reader of current(pod).readers) reader.destroy();
    },
  };
}
