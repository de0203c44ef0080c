// What an agent does for its rank: starts and kills it as the rendezvous says, passes messages on between the two, and remembers how it ended.
import type { Failure, FromAgent, ToAgent } from '#runtime/api/rendezvous.ts';
import type { AgentMessage, Progress, PublishedModel, RankMessage } from '#runtime/api/messages.ts';
import type { RankEnding } from './rendezvous/fault.ts';
import type { RankProcess } from './rank-process.ts';

export interface SessionOptions {
  readonly startRank: (onMessage: (message: RankMessage) => void) => RankProcess;
  /** Pods of the job: a rank alone is stopped by SIGTERM, ranks of many after a step that all agree on. */
  readonly pods: number;
  /** Index of this pod. */
  readonly index: number;
  readonly secretOf: (epoch: number) => string;
  readonly onProgress: (progress: Progress) => void;
}

export type End = Extract<ToAgent, { case: 'end' }>['value'];

/** The newest rank process and what it said. */
interface Run {
  readonly epoch: number;
  readonly process: RankProcess;
  endpoint?: string;
  published?: PublishedModel;
  failure?: Failure;
  wasKilled: boolean;
  ending?: RankEnding;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #end = Promise.withResolvers<End>();
  #send: (said: FromAgent) => void = () => {};
  #run: Run | undefined;
  /** Of the newest start that was heard. */
  #epoch = -1;
  /** Ranks up to this epoch are not to run. */
  #killedEpoch = -1;
  #rank: number;
  #restarts = 0;
  #isLeaving = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#rank = options.index;
  }

  /** Resolves when the rendezvous has ended the job for this pod and the rank is gone. */
  get ended(): Promise<End> {
    return this.#end.promise;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get isRunning(): boolean {
    return this.#run !== undefined && this.#run.ending === undefined;
  }

  /** Of the newest rank process: its number, what it said last, and how it ended. */
  get last() {
    const { ending, failure, published, process } = this.#run ?? {};
    return { rank: this.#rank, ending, failure, published, logLines: process?.logLines ?? [] };
  }

  /** The rendezvous is reached, for the first time or again: it is told all that counts. */
  joined(send: (said: FromAgent) => void): void {
    this.#send = send;
    if (this.#isLeaving) send({ case: 'leaving', value: {} });
    const { epoch, endpoint, ending } = this.#run ?? {};
    if (epoch === undefined) return;
    if (endpoint !== undefined) send({ case: 'endpoint', value: { epoch, endpoint } });
    if (ending) send({ case: 'ended', value: { epoch, ...ending } });
  }

  /** The pod is to end: the ranks save together. */
  leave(): void {
    this.#isLeaving = true;
    this.#send({ case: 'leaving', value: {} });
  }

  /** Ends the rank, if one runs, without being told to. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#killedEpoch = Infinity;
    this.#run?.process.kill();
    await this.#run?.process.exited;
  }

  hear(said: ToAgent): void {
    const run = this.#run;
    switch (said.case) {
      case 'start':
        this.#restarts = said.value.restarts;
        void this.#start(said.value.epoch);
        return;
      case 'world': {
        const { epoch, rank, endpoints, deadlineMs } = said.value;
        this.#rank = rank;
        const world = { epoch, worldSize: endpoints.length, rank, endpoints, secret: this.#options.secretOf(epoch), deadlineMs };
        return this.#tellRank(epoch, { type: 'world', world });
      }
      case 'kill':
        return this.#kill(said.value.epoch);
      case 'halt':
        return this.#tellRank(said.value.epoch, { type: 'halt' });
      case 'stop':
        this.#tellRank(said.value.epoch, { type: 'stop', step: said.value.step });
        if (this.#options.pods === 1) run?.process.terminate();
        return;
      case 'end':
        this.#restarts = said.value.restarts;
        this.#killedEpoch = Infinity;
        if (run) killRun(run);
        void Promise.resolve(run?.process.exited).then(() => this.#end.resolve(said.value));
        return;
      case 'challenge':
    }
  }

  /** Starts a rank when the one before is gone. A kill of this epoch, or a later start, may overtake it. */
  async #start(epoch: number): Promise<void> {
    if (epoch <= this.#epoch) return;
    this.#epoch = epoch;
    const before = this.#run;
    if (before) {
      killRun(before);
      await before.process.exited;
    }
    if (this.#epoch !== epoch || this.#killedEpoch >= epoch) return;
    const run: Run = { epoch, wasKilled: false, process: this.#options.startRank((message) => this.#hearRank(run, message)) };
    this.#run = run;
    const { code, signal } = await run.process.exited;
    const { wasKilled: killed, failure } = run;
    const logTail = run.process.logLines.join('\n');
    run.ending = {
      killed,
      failure,
      logTail,
      ...(code === null ? {} : { exitCode: code }),
      ...(signal === null ? {} : { signal }),
    };
    this.#send({ case: 'ended', value: { epoch, ...run.ending } });
  }

  /** Answers at once for a rank that does not run. */
  #kill(epoch: number): void {
    this.#killedEpoch = Math.max(this.#killedEpoch, epoch);
    const run = this.#run;
    if (run && run.epoch <= epoch) killRun(run);
    if (run?.epoch !== epoch) this.#send({ case: 'ended', value: { epoch, killed: true } });
    else if (run.ending) this.#send({ case: 'ended', value: { epoch, ...run.ending } });
  }

  #tellRank(epoch: number, message: AgentMessage): void {
    if (this.#run?.epoch === epoch) this.#run.process.send(message);
  }

  #hearRank(run: Run, message: RankMessage): void {
    const { epoch } = run;
    switch (message.type) {
      case 'progress':
        return this.#options.onProgress(message.progress);
      case 'published':
        run.published = message.model;
        return;
      case 'failed':
        run.failure = { code: message.code, message: message.message, remedy: message.remedy, step: message.step };
        return;
      case 'endpoint':
        run.endpoint = message.endpoint;
        return this.#send({ case: 'endpoint', value: { epoch, endpoint: message.endpoint } });
      case 'heartbeat':
        return this.#send({ case: 'beat', value: { epoch, heartbeat: message.heartbeat } });
      case 'halted':
        return this.#send({ case: 'halted', value: { epoch, step: message.step } });
    }
  }
}

function killRun(run: Run): void {
  if (run.process.kill()) run.wasKilled = true;
}
