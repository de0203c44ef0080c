// The in-process bus, reached from other processes of the same machine: JSON lines over a unix socket.
import { createServer, connect } from 'node:net';
import type { Server, Socket } from 'node:net';
import { z } from 'zod';
import type { BusPublisher, EventBus } from './bus.ts';

const Line = z.object({ subject: z.string().max(512), payload: z.unknown() });

/** A publisher that never got through keeps this many newest messages for the moment the socket is back. */
const maxQueuedMessages = 256;
/** A line longer than this is cut off with its connection: nobody sends progress of that size. */
const maxLineBytes = 1 << 20;
const reconnectDelayMs = 500;

/** Lets processes publish into `bus` through the socket at `path`. Lines that don't parse end their connection. */
export async function serveBus(bus: EventBus, path: string): Promise<Server> {
  const server = createServer((socket) => {
    let pending = '';
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: string) => {
      const lines = (pending + chunk).split('\n');
      pending = lines.pop() ?? '';
      if (pending.length > maxLineBytes || !lines.every((line) => publishLine(bus, line))) socket.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return server;
}

function publishLine(bus: EventBus, line: string): boolean {
  try {
    const { subject, payload } = Line.parse(JSON.parse(line));
    bus.publish(subject, payload);
    return true;
  } catch {
    return false;
  }
}

/** Connects a publisher to the socket at `path`; keeps trying while it is away. */
export function connectSocketPublisher(path: string): BusPublisher {
  const queue: string[] = [];
  let socket: Socket | undefined;
  let retry: NodeJS.Timeout | undefined;
  let closed = false;

  const open = () => {
    const next = connect(path);
    next.unref();
    next.on('connect', () => {
      socket = next;
      for (const line of queue.splice(0)) next.write(line);
    });
    next.on('error', () => {});
    next.on('close', () => {
      socket = undefined;
      if (closed) return;
      retry = setTimeout(open, reconnectDelayMs);
      retry.unref();
    });
  };
  open();

  return {
    publish(subject, payload) {
      const line = `${JSON.stringify({ subject, payload })}\n`;
      if (socket) socket.write(line);
      else if (queue.push(line) > maxQueuedMessages) queue.shift();
    },
    async close(timeoutMs) {
      closed = true;
      clearTimeout(retry);
      const last = socket;
      if (!last) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        last.end(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      last.destroy();
    },
  };
}
