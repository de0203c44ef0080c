// Who used the processors, and when: the processes of the bench, looked at many times a second.
import { readdirSync, readFileSync } from 'node:fs';
import { cpuMsOf } from './process-figures.ts';

/** Milliseconds of processor time by the name of the process. */
export type ProcessorTime = Readonly<Record<string, number>>;

const everyMs = 50;

export class ProcessorLog implements Disposable {
  readonly #pids: Readonly<Record<string, number>>;
  readonly #samples: { at: number; used: ProcessorTime }[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(pids: Readonly<Record<string, number>>) {
    this.#pids = pids;
    this.#look();
    this.#timer = setInterval(() => this.#look(), everyMs);
  }

  /** What each used between two moments of the clock, which the log has seen both. */
  between(from: number, to: number): ProcessorTime {
    this.#look();
    const [before, after] = [this.#at(from), this.#at(to)];
    return Object.fromEntries(Object.keys(this.#pids).map((name) => [name, after(name) - before(name)]));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const used = Object.fromEntries(Object.entries(this.#pids).map(([name, pid]) => [name, cpuMsOf(pid)]));
    this.#samples.push({ at: Date.now(), used });
  }

  /** On a straight line between the looks before and after the moment. */
  #at(moment: number): (name: string) => number {
    const next = Math.max(
      1,
      this.#samples.findIndex(({ at }) => at >= moment),
    );
    const [a, b] = [this.#samples[next - 1]!, this.#samples[next] ?? this.#samples.at(-1)!];
    const share = b.at === a.at ? 0 : (moment - a.at) / (b.at - a.at);
    return (name) => a.used[name]! + share * (b.used[name]! - a.used[name]!);
  }
}

/** The processes of a test cluster, by the names of their programs: each has the cluster's folder in its arguments. */
export function processesOf(folder: string): Record<string, number> {
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const [program = '', ...args] = argumentsOf(pid);
      const name = /(etcd|kube-apiserver|kube-scheduler)$/.exec(program)?.[1];
      return name !== undefined && args.some((arg) => arg.includes(folder)) ? [[name, Number(pid)] as const] : [];
    });
  return Object.fromEntries(found);
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    // It has just ended.
    return [];
  }
}
