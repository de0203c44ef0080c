// Lets the clients of a server go without failing one of their requests: what is told is `connection: close`, what is closed is idle.
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

interface Connection {
  /** The answer that is being given. */
  answer: ServerResponse | undefined;
  /** When it was last in use. */
  usedAt: number;
}

/**
 * A server that closes a connection may do so while the next request is already under way, which then fails. So every answer that still can says
 * `connection: close`, and only connections that nobody has used for a while are closed from here.
 */
export class Connections {
  readonly #open = new Map<Socket, Connection>();
  readonly #now: () => number;
  #isLeaving = false;

  /** `now`: milliseconds. */
  constructor(server: Server, now: () => number) {
    this.#now = now;
    server.on('connection', (socket: Socket) => {
      this.#open.set(socket, { answer: undefined, usedAt: now() });
      socket.once('close', () => this.#open.delete(socket));
    });
    // Before the framework's own listener, which may answer at once.
    server.prependListener('request', ({ socket }, answer: ServerResponse) => {
      const connection = this.#open.get(socket);
      if (!connection) return;
      connection.answer = answer;
      if (this.#isLeaving) answer.shouldKeepAlive = false;
      answer.once('close', () => Object.assign(connection, { answer: undefined, usedAt: now() }));
    });
  }

  get count(): number {
    return this.#open.size;
  }

  /** From now on each connection ends with the next answer that begins on it. */
  leave(): void {
    this.#isLeaving = true;
    for (const { answer } of this.#open.values()) if (answer?.headersSent === false) answer.shouldKeepAlive = false;
  }

  /** Closes connections on which nothing has happened for this long. */
  closeIdle(idleMs: number): void {
    for (const [socket, { answer, usedAt }] of this.#open)
      if (answer === undefined && this.#now() - usedAt >= idleMs) socket.destroySoon();
  }
}
