// A nats-server of a test's own, which may be killed and come back at the same port.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { build } from '../../hack/test-cluster/build.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';

export class NatsServer implements AsyncDisposable {
  readonly #flags: readonly string[];
  /** Of the server's own choice at first. */
  #port = -1;
  #child: ChildProcess | undefined;

  private constructor(flags: readonly string[]) {
    this.#flags = flags;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens on loopback, with the flags of nats-server given beside those. */
  static async start(...flags: string[]): Promise<NatsServer> {
    await build(['nats-server'], (line) => process.stderr.write(`nats: ${line}\n`));
    const server = new NatsServer(flags);
    await server.up();
    return server;
  }

  async up(): Promise<void> {
    const args = ['--addr', '127.0.0.1', '--port', String(this.#port), ...this.#flags];
    const child = spawn(binaryOf('nats-server'), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    let log = '';
    await new Promise<void>((ready, reject) => {
      child.once('error', reject);
      child.once('close', () => reject(new Error(`nats-server ended:\n${log}`)));
      child.stderr.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (log.includes('Server is ready')) ready();
      });
    });
    this.#port = Number(/Listening for client connections on \S+:(\d+)/.exec(log)![1]);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('close', done));
    child.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
