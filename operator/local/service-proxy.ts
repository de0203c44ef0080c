// The kube-proxy of one machine: a listener per Service that passes connections on to its ready pods in turn.
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { WindlassError } from '#runtime/api/errors.ts';

export interface Backend {
  readonly address: string;
  readonly port: number;
}

/** How long a new connection waits for a backend to appear (a rollout, a restart) before it is closed. */
const backendWaitMs = 10_000;
const backendPollMs = 50;

export class ServiceProxy {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #backends: readonly Backend[] = [];
  #next = 0;
  #closed = false;

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (client) => void this.#forward(client));
  }

  /** Listens on `address:port`. Throws WL_PORT_TAKEN if somebody else does. */
  static async listen(address: string, port: number): Promise<ServiceProxy> {
    const proxy = new ServiceProxy();
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const taken = cause.code === 'EADDRINUSE';
        reject(
          new WindlassError(taken ? 'WL_PORT_TAKEN' : 'WL_IO', `cannot listen on ${address}:${port}: ${cause.message}`, {
            cause,
          }),
        );
      });
      proxy.#server.listen(port, address, resolve);
    });
    return proxy;
  }

  setBackends(backends: readonly Backend[]): void {
    this.#backends = backends;
  }

  /** Stops listening and closes what is still open. */
  close(): void {
    this.#closed = true;
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #forward(client: Socket): Promise<void> {
    this.#track(client);
    const backend = await this.#waitForBackend(client);
    if (!backend) {
      client.destroy();
      return;
    }
    const upstream = connect({ host: backend.address, port: backend.port, allowHalfOpen: true });
    this.#track(upstream);
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroySoon());
    client.pipe(upstream);
    upstream.pipe(client);
  }

  async #waitForBackend(client: Socket): Promise<Backend | undefined> {
    const deadline = Date.now() + backendWaitMs;
    while (!this.#closed && !client.destroyed) {
      const backend = this.#backends[this.#next++ % Math.max(1, this.#backends.length)];
      if (backend || Date.now() > deadline) return backend;
      await new Promise((resolve) => setTimeout(resolve, backendPollMs));
    }
    return undefined;
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
