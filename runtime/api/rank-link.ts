// The rank's side of the channel to its agent: announces where it listens, beats, and learns when to stop.
import { AgentMessage } from './messages.ts';
import type { Heartbeat, RankMessage, World } from './messages.ts';

/** What the link needs of a process that was started with an IPC channel. */
export interface IpcChannel {
  readonly connected?: boolean;
  send?(message: unknown, handle: undefined, options: undefined, done: (error: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

const beatEveryMs = 1_000;

export class RankLink {
  readonly #channel: IpcChannel;
  readonly #stopping = new AbortController();
  #sent: Promise<void> = Promise.resolve();
  #world = Promise.withResolvers<World>();
  /** Newest step that `mayStart` let begin. */
  #begun = -1;
  #beatNow = () => {};
  #hasStepped = false;
  #stop: { readonly step: number } | undefined;
  #decision: PromiseWithResolvers<void> | undefined;

  constructor(channel: IpcChannel = process) {
    this.#channel = channel;
    channel.on('message', (raw) => {
      const parsed = AgentMessage.safeParse(raw);
      if (parsed.success) this.#hear(parsed.data);
    });
  }

  /** Aborted when the ranks have agreed on a stop. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Tells the agent that the communicator listens at `endpoint`. Resolves to the world when all ranks do; without an agent, to a world of one. */
  async announce(endpoint: string): Promise<World> {
    if (!this.#channel.connected)
      return { epoch: 0, worldSize: 1, rank: 0, endpoints: [endpoint], secret: '', deadlineMs: Infinity };
    void this.send({ type: 'endpoint', endpoint });
    return await this.#world.promise;
  }

  /** Sends what `read` returns now and each second. Returns the way to stop. */
  beat(read: () => Heartbeat): Disposable {
    const tell = () => void this.send({ type: 'heartbeat', heartbeat: read() });
    this.#beatNow = tell;
    tell();
    const timer = setInterval(tell, beatEveryMs);
    timer.unref();
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer);
        this.#beatNow = () => {};
      },
    };
  }

  /**
   * Whether `step` may begin; false: save the step before and end. Every rank asks before each step, and waits here while the ranks agree
   * on the last one.
   */
  async mayStart(step: number): Promise<boolean> {
    await this.#decision?.promise;
    if (this.#stop && step > this.#stop.step) return false;
    // The first step that is done is told at once: after progress, a fault is followed by a short wait only.
    if (this.#begun >= 0 && !this.#hasStepped) {
      this.#hasStepped = true;
      this.#beatNow();
    }
    this.#begun = step;
    return true;
  }

  /** Sends a message to the agent, if there is one. Resolves when it and those before have left this process. */
  send(message: RankMessage): Promise<void> {
    if (this.#channel.connected)
      this.#sent = new Promise((resolve) => this.#channel.send?.(message, undefined, undefined, () => resolve()));
    return this.#sent;
  }

  /** Resolves when everything said so far has left this process. */
  settled(): Promise<void> {
    return this.#sent;
  }

  #hear(message: AgentMessage): void {
    if (message.type === 'world') this.#world.resolve(message.world);
    else if (message.type === 'halt') {
      this.#decision ??= Promise.withResolvers();
      void this.send({ type: 'halted', step: this.#begun });
    } else {
      this.#stop ??= { step: message.step };
      this.#stopping.abort();
      this.#decision?.resolve();
    }
  }
}
