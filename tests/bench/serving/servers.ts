// Our engine and llama-server as processes that serve the same model over HTTP.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endWithBench } from '../end-with-bench.ts';
import { llamaTool } from '../../../hack/peer-tools/llama.ts';
import type { LlamaVariant } from '../../../hack/peer-tools/llama.ts';
import type { Subject } from './subject.ts';

export interface Served {
  readonly address: string;
  /** Seconds from the start of the process to its first token. */
  readonly startSeconds: number;
  /** Asks for `count` tokens after `prompt`. */
  complete(prompt: readonly number[], count: number): Promise<Completion>;
  close(): Promise<void>;
}

interface Completion {
  readonly firstTokenSeconds: number;
  readonly seconds: number;
}

export interface ServerSetup {
  readonly subject: Subject;
  readonly isa: LlamaVariant;
  readonly threads: number;
  /** At the same time, and prompt and completion tokens of each. */
  readonly sequences: number;
  readonly contextLength: number;
  /** Folder in which our processes share packed weights; absent: each packs for itself. */
  readonly cache?: string;
  /** More arguments for llama-server. */
  readonly llamaArguments?: readonly string[];
}

/** Ask for the first token so often while the server starts. */
const lookMs = 20;
const startDeadlineMs = 120_000;

export async function startOurs({ subject, threads, sequences, contextLength, cache }: ServerSetup): Promise<Served> {
  const port = await freePort();
  const program = resolve(import.meta.dirname, '../../../bin/windlass.ts');
  return await start(process.execPath, [program, 'engine'], port, {
    WL_THREADS: String(threads),
    WL_NAMESPACE: 'default',
    WL_NAME: 'bench',
    WL_POD_NAME: 'bench',
    WL_SERVICE: JSON.stringify({ engine: { maxSequences: sequences, contextLength } }),
    WL_MODEL_DIR: subject.ours,
    WL_MODEL_NAME: 'bench',
    ...(cache === undefined ? {} : { WL_MODEL_CACHE: cache }),
    WL_POD_IP: '127.0.0.1',
    WL_PORT: String(port),
    WL_TERMINATION_LOG: '/dev/null',
  });
}

export async function startLlama({
  subject,
  isa,
  threads,
  sequences,
  contextLength,
  llamaArguments = [],
}: ServerSetup): Promise<Served> {
  const port = await freePort();
  const context = sequences * contextLength;
  const sizes = ['-t', String(threads), '-np', String(sequences), '-c', String(context)];
  const args = ['-m', subject.gguf, '--host', '127.0.0.1', '--port', String(port), ...sizes, ...llamaArguments];
  return await start(llamaTool('llama-server', isa), args, port, {});
}

async function start(command: string, args: readonly string[], port: number, env: Record<string, string>): Promise<Served> {
  const begin = performance.now();
  const child = endWithBench(spawn(command, args, { stdio: 'ignore', env: { ...process.env, ...env } }));
  const ended = once(child, 'close');
  let isEnded = false;
  void ended.then(() => (isEnded = true));
  const address = `http://127.0.0.1:${port}`;
  const url = `${address}/v1/completions`;
  const close = async () => {
    if (!isEnded) child.kill('SIGKILL');
    await ended;
  };
  while (!(await hasAnswered(url))) {
    if (isEnded || performance.now() - begin > startDeadlineMs) {
      await close();
      throw new Error(`${command} ${args.join(' ')} did not answer; run it by hand to see why`);
    }
    await sleep(lookMs);
  }
  const startSeconds = (performance.now() - begin) / 1e3;
  return { address, startSeconds, complete: (prompt, count) => complete(url, prompt, count), close };
}

function post(url: string, prompt: readonly number[], count: number): Promise<Response> {
  const body = { model: 'bench', prompt, max_tokens: count, temperature: 0, ignore_eos: true, stream: true };
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

async function hasAnswered(url: string): Promise<boolean> {
  const response = await post(url, [1], 1).catch(() => undefined);
  await response?.text().catch(() => undefined);
  return response?.status === 200;
}

async function complete(url: string, prompt: readonly number[], count: number): Promise<Completion> {
  const begin = performance.now();
  const response = await post(url, prompt, count);
  if (!response.ok || !response.body) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  let firstTokenSeconds: number | undefined;
  for await (const _ of response.body) firstTokenSeconds ??= (performance.now() - begin) / 1e3;
  return { firstTokenSeconds: firstTokenSeconds ?? NaN, seconds: (performance.now() - begin) / 1e3 };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
