// Loaded into a rank before its own code (--import): measures memory and the event loop while it trains, and writes what it saw to PROBE_FILE.
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { liveTensors } from '#kernels/binding.ts';
import type { RankMessage } from '#runtime/api/messages.ts';

export interface Probe {
  /** At progress reports while training; after a garbage collection where Node exposes it (--expose-gc). */
  readonly memory: { readonly step: number; readonly rssBytes: number; readonly heapBytes: number; readonly tensors: number }[];
  /** Processor time of the main thread between two turns of a 1 ms timer, in milliseconds: the 99th percentile and the most. */
  readonly turnCpuMs: { p99: number; max: number };
  /** Lateness of timers, in milliseconds; counts what other processes of the machine take, too. */
  readonly timerLatenessMs: { p99: number; max: number };
  /** Labels of the tensors that live when the process ends. */
  readonly left: string[];
}

const memory: Probe['memory'] = [];
const lateness = monitorEventLoopDelay({ resolution: 1 });
const turns: number[] = [];
let timer: NodeJS.Timeout | undefined;
let last = 0;

const cpuMs = () => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

function start(): void {
  lateness.enable();
  last = cpuMs();
  timer = setInterval(() => {
    const now = cpuMs();
    turns.push(now - last);
    last = now;
  }, 1);
}

function stop(): void {
  lateness.disable();
  clearInterval(timer);
}

/** Sees what the rank tells its agent: from the first step to the publishing it trains. */
const send = process.send?.bind(process);
process.send = (message: RankMessage, ...rest: unknown[]): boolean => {
  if (message.type === 'progress') {
    const { step, phase } = message.progress;
    if (step > 0 && !timer) start();
    if (phase === 'publishing') stop();
    else if (timer) {
      turns.push(cpuMs() - last);
      globalThis.gc?.();
      const { rss, heapUsed } = process.memoryUsage();
      memory.push({ step, rssBytes: rss, heapBytes: heapUsed, tensors: liveTensors().length });
      // What the probe itself takes is not the rank's.
      last = cpuMs();
    }
  }
  return (send as (...args: unknown[]) => boolean)(message, ...rest);
};

process.on('exit', () => {
  turns.sort((a, b) => a - b);
  const probe: Probe = {
    memory,
    turnCpuMs: { p99: turns[Math.floor(turns.length * 0.99)] ?? NaN, max: turns.at(-1) ?? NaN },
    timerLatenessMs: { p99: lateness.percentile(99) / 1e6, max: lateness.max / 1e6 },
    left: liveTensors().map(({ label }) => label),
  };
  writeFileSync(process.env['PROBE_FILE'] ?? '', JSON.stringify(probe));
});
