// Turns steps into progress reports: tokens per second over the last steps, ETA, and no more messages than anybody can read.
import type { Progress } from '#runtime/api/messages.ts';

/** Shortest time between two reports of steps; what is between them is folded into the next. */
const reportEveryMs = 250;
/** Speed is measured over about this many of the newest milliseconds. */
const speedWindowMs = 10_000;
/** Shortest time between two steps that are remembered for it: short steps must not take more memory than long ones. */
const markEveryMs = 250;

export interface ProgressOptions {
  readonly steps: number;
  readonly tokensPerStep: number;
  /** When this process began, by the time of day. */
  readonly started?: string;
  readonly send: (progress: Progress) => void;
  /** Milliseconds from any fixed point. */
  readonly now: () => number;
}

export class ProgressReporter {
  readonly #options: ProgressOptions;
  /** Steps of the window, oldest first. */
  readonly #marks: { time: number; step: number }[] = [];
  #steppedAt = 0;
  #state: Progress;
  #lastSent = -Infinity;
  readonly #spent = { preparing: 0, stepping: 0, evaluating: 0, checkpointing: 0, steps: 0 };
  /** What time goes to is known up to here. */
  #spentUntil: number;
  #isPreparing = true;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#spentUntil = options.now();
    this.#state = { step: 0, steps: options.steps };
  }

  /** What is known now. */
  get current(): Progress {
    return this.#state;
  }

  /** Training goes on from a step: what was before it is over. */
  startFrom(step: number): void {
    this.#state = { step, steps: this.#options.steps };
    this.#marks.length = 0;
    this.#lastSent = -Infinity;
    this.#spend('preparing');
    this.#isPreparing = false;
  }

  /** A step is done. */
  stepped(step: number, values: Partial<Progress>): void {
    const time = this.#options.now();
    this.#steppedAt = time;
    this.#spend('stepping');
    this.#spent.steps += 1;
    if (time - (this.#marks.at(-1)?.time ?? -Infinity) >= markEveryMs) this.#marks.push({ time, step });
    while (this.#marks.length > 2 && time - (this.#marks[0]?.time ?? time) > speedWindowMs) this.#marks.shift();
    const { phase: _phase, phaseShare: _share, transfer: _transfer, ...rest } = this.#state;
    this.#state = { ...rest, ...values, step, ...this.#speed(time, step) };
    if (time - this.#lastSent >= reportEveryMs) this.#send(time);
  }

  /** A value of the newest step that is known only now; goes out with the next report. */
  note(values: Partial<Progress>): void {
    this.#state = { ...this.#state, ...values };
  }

  /** Something other than a step goes on, or is known now. Sent at once. */
  tell(values: Partial<Progress>): void {
    this.#state = { ...this.#state, ...values };
    this.#send(this.#options.now());
  }

  /** Says with the next report or heartbeat that `phase` goes on, as long as `work` takes. */
  async during<T>(phase: string, work: () => Promise<T>): Promise<T> {
    this.note({ phase });
    try {
      return await work();
    } finally {
      this.note({ phase: undefined });
    }
  }

  /** A pause is over: it does not count as slow steps. */
  resumeClock(after: 'evaluating' | 'checkpointing'): void {
    this.#spend(after);
    const pause = this.#options.now() - this.#steppedAt;
    this.#steppedAt += pause;
    for (const mark of this.#marks) mark.time += pause;
  }

  /** Sends what has not been sent yet. */
  flush(): void {
    this.#send(this.#options.now());
  }

  #speed(time: number, step: number): Pick<Progress, 'tokensPerSecond' | 'etaSeconds'> {
    const [first] = this.#marks;
    if (!first || step === first.step) return {};
    const secondsPerStep = (time - first.time) / 1000 / (step - first.step);
    return {
      tokensPerSecond: this.#options.tokensPerStep / secondsPerStep,
      etaSeconds: secondsPerStep * (this.#options.steps - step),
    };
  }

  #send(time: number): void {
    this.#lastSent = time;
    if (this.#isPreparing) this.#spend('preparing');
    const { started } = this.#options;
    const clock = started === undefined ? {} : { clock: { started, ...this.#spent } };
    this.#options.send({ ...this.#state, rssBytes: process.memoryUsage.rss(), ...clock });
  }

  /** What went on since the last call was this. */
  #spend(on: 'preparing' | 'stepping' | 'evaluating' | 'checkpointing'): void {
    const time = this.#options.now();
    this.#spent[on] += (time - this.#spentUntil) / 1000;
    this.#spentUntil = time;
  }
}
