// `windlass operator` as a process of its own: its log lines, its pages, its end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { inject, vi } from 'vitest';

interface LogLine {
  level: string;
  msg: string;
  controller?: string;
  port?: number;
  [field: string]: unknown;
}

export interface OperatorProcess extends AsyncDisposable {
  readonly lines: LogLine[];
  /** Text that was no JSON: what went wrong. */
  readonly stderr: string;
  /** The first line with this message, as soon as it is there. */
  said(message: string): Promise<LogLine>;
  /** The body of a page. */
  page(of: 'metrics' | 'health' | 'profiles', path: string): Promise<{ status: number; body: string }>;
  kill(signal: NodeJS.Signals): void;
  /** Exit code, or signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

const windlass = resolve(import.meta.dirname, '../../bin/windlass.ts');

/** Starts an operator that works in `namespace` alone. */
export function startOperator(
  namespace: string,
  { args = [], kubeconfig = inject('cluster').kubeconfig }: { args?: readonly string[]; kubeconfig?: string } = {},
): OperatorProcess {
  const addresses = ['metrics', 'health', 'profile'].flatMap((what) => [`--${what}-address`, '127.0.0.1:0']);
  const scope = ['--namespace', namespace, '--lease-namespace', namespace, '--image', 'windlass:test'];
  const command = [windlass, 'operator', '--kubeconfig', kubeconfig, ...scope, ...addresses, ...args];
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: LogLine[] = [];
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as LogLine));
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  const said = (message: string) =>
    vi.waitFor(
      () => {
        const line = lines.find(({ msg }) => msg === message);
        if (!line) throw new Error(`the operator did not say "${message}" but ${JSON.stringify(lines.at(-1))} ${stderr}`);
        return line;
      },
      { timeout: 90_000, interval: 20 },
    );
  return {
    lines,
    get stderr() {
      return stderr;
    },
    said,
    async page(of, path) {
      const { port } = await said(`${of} can be asked`);
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: response.status, body: await response.text() };
    },
    kill: (signal) => void child.kill(signal),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
