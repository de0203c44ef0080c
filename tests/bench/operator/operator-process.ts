// `windlass operator` as a process of its own, as an image has it, with what the kernel knows of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { endWithBench } from '../end-with-bench.ts';
import { cpuMsOf, memoryOf } from './process-figures.ts';
import { endOf, systemNamespace } from './stage.ts';
import type { Stage } from './stage.ts';

interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly msg: string;
  readonly port?: number;
}

export interface OperatorProcess extends AsyncDisposable {
  readonly pid: number;
  /** Milliseconds from its first request to stores that hold what exists, by its own log. */
  readonly syncMs: number;
  /** Lines of its log at level `error`. */
  readonly errors: readonly LogLine[];
  /** Rejects when it ends by itself. */
  readonly failed: Promise<never>;
  cpuMs(): number;
  memory(): { nowMiB: number; peakMiB: number };
}

const startTimeoutMs = 120_000;

export async function startOperator({ operatorKubeconfig, program }: Stage, profile?: string): Promise<OperatorProcess> {
  const addresses = ['metrics', 'health', 'profile'].flatMap((what) => [`--${what}-address`, '127.0.0.1:0']);
  const profiling = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const scope = ['--kubeconfig', operatorKubeconfig, '--lease-namespace', systemNamespace, '--image', 'windlass:bench'];
  const child = endWithBench(
    spawn(process.execPath, [...profiling, program, 'operator', ...scope, ...addresses], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // As in the chart, whose limit of 512 MiB makes Node take 256 for what lives long.
      env: { ...process.env, NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=256' },
    }),
  );
  const failed = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the operator ended with ${code}`)));
  // Nobody may be waiting for it at the moment.
  failed.catch(() => undefined);
  const lines: LogLine[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as LogLine));
  const said = async (message: string): Promise<LogLine> => {
    for (const deadline = Date.now() + startTimeoutMs; Date.now() < deadline; await sleep(20)) {
      const line = lines.find(({ msg }) => msg === message);
      if (line) return line;
      if (child.exitCode !== null) break;
    }
    throw new Error(`the operator did not say "${message}" but ${JSON.stringify(lines.at(-1))}`);
  };
  const [began, ready] = [await said('starting'), await said('controllers run')];
  const pid = child.pid!;
  return {
    pid,
    failed,
    syncMs: Date.parse(ready.time) - Date.parse(began.time),
    get errors() {
      return lines.filter(({ level }) => level === 'error');
    },
    cpuMs: () => cpuMsOf(pid),
    memory: () => memoryOf(pid),
    [Symbol.asyncDispose]: () => endOf(child, 'SIGTERM'),
  };
}
