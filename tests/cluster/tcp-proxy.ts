// A line to the API server that a test can cut, close and let fall silent.
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** Cuts all lines; new ones are refused until `open`. */
  close(): void;
  open(): void;
  /** Nothing passes any more, and nobody is told: lines that are there, and new ones, until `thaw`. */
  freeze(): void;
  thaw(): void;
}

export async function startProxy(target: URL): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let [isOpen, isFrozen] = [true, false];
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => {});
  };
  const server = createServer((near) => {
    track(near);
    if (!isOpen) return near.destroy();
    const far = connect(Number(target.port), target.hostname);
    track(far);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    near.on('data', (bytes) => far.write(bytes));
    far.on('data', (bytes) => near.write(bytes));
    if (isFrozen) for (const socket of [near, far]) socket.pause();
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      isOpen = false;
      cut();
    },
    open() {
      isOpen = true;
    },
    freeze() {
      isFrozen = true;
      sockets.forEach((socket) => socket.pause());
    },
    thaw() {
      isFrozen = false;
      sockets.forEach((socket) => socket.resume());
    },
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
