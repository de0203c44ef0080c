// The bench sse: processor time that our server needs for a streamed token, over an engine whose model costs nothing. Clients are another process.
import { cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';
import { startLines } from '../line-process.ts';
import type { LineProcess } from '../line-process.ts';
import { median } from '../median.ts';
import { tellRound } from '../progress.ts';
import type { ClientReport } from './sse-clients.ts';
import type { ProcessorTime, ServerReady } from './sse-server.ts';

export interface SseOptions {
  readonly rounds: number;
  /** Tokens of each stream. */
  readonly tokens: number;
  /** Folder for a profile of the server. */
  readonly profile?: string;
}

interface SseRow {
  readonly route: Route;
  readonly streams: number;
  /** Microseconds of processor time of the server's process for each token, user and system. */
  readonly cpuUs: number;
  readonly userUs: number;
  readonly systemUs: number;
  /** Those that the engine takes without HTTP: the difference is the price of HTTP and SSE. */
  readonly engineUs: number;
  /** More than 1 if readers were slow, so that tokens shared an event. */
  readonly tokensPerEvent: number;
  readonly bytesPerToken: number;
}

export interface SseFigures {
  readonly at: string;
  readonly cpu: string;
  /** Average of the last minute, before and after. */
  readonly load: readonly [before: number, after: number];
  readonly node: string;
  readonly rows: readonly SseRow[];
}

type Route = keyof typeof routes;

const asked = 'Tell me about the whale.';
const routes = {
  completions: { path: '/v1/completions', prompt: { prompt: asked } },
  chat: { path: '/v1/chat/completions', prompt: { messages: [{ role: 'user', content: asked }] } },
} as const;
const streamCounts = [1, 16, 64];
/** Of each case in a round, so that all have the same number of tokens. */
const streamsInAll = 64;

const cases = (Object.keys(routes) as Route[]).flatMap((route) => streamCounts.map((streams) => ({ route, streams })));

export async function benchSse({ rounds, tokens, profile }: SseOptions): Promise<SseFigures> {
  const [before] = loadavg();
  await using opened = new AsyncDisposableStack();
  const order = JSON.stringify({ streams: Math.max(...streamCounts), tokens });
  const profiling = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const server = opened.adopt(start([...profiling, program('sse-server')], [order]), (process) => process.close());
  const clients = opened.adopt(start([program('sse-clients')]), (process) => process.close());
  const { url, text } = await server.answer<ServerReady>();
  const taken = cases.map((): Taken[] => []);
  for (let round = 0; round <= rounds; round += 1) {
    if (round > 0) tellRound(round - 1, rounds);
    for (const [index, { route, streams }] of cases.entries()) {
      const { path, prompt } = routes[route];
      const requests = streamsInAll / streams;
      const body = { ...prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, stream: true };
      const begin = await server.ask<ProcessorTime>('cpu');
      const report = await clients.ask<ClientReport>(JSON.stringify({ url: url + path, body, streams, requests, text }));
      const end = await server.ask<ProcessorTime>('cpu');
      const engine = await server.ask<ProcessorTime>(`engine ${streams} ${requests}`);
      const all = { user: end.user - begin.user, system: end.system - begin.system };
      // The first round makes the code of the others.
      if (round > 0) taken[index]!.push({ all, engine, report });
    }
  }
  const rows = cases.map((each, index) => rowOf(each, taken[index]!, streamsInAll * tokens));
  const [after] = loadavg();
  return {
    at: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown',
    load: [before ?? NaN, after ?? NaN],
    node: process.version,
    rows,
  };
}

export function printSse({ cpu, load, node, rows }: SseFigures): void {
  console.log(`sse: processor time of the server for a streamed token, median of rounds; ${cpu}, node ${node}`);
  console.log(`  load ${load.map((value) => value.toFixed(1)).join(' before, ')} after`);
  for (const { route, streams, cpuUs, userUs, systemUs, engineUs, tokensPerEvent, bytesPerToken } of rows) {
    console.log(
      `  ${route.padEnd(11)} ${String(streams).padStart(2)} streams  ${cpuUs.toFixed(1).padStart(6)} us ` +
        `(user ${userUs.toFixed(1)}, system ${systemUs.toFixed(1)}), the engine alone ${engineUs.toFixed(1)}; ` +
        `${tokensPerEvent.toFixed(2)} tokens an event, ${bytesPerToken.toFixed(0)} bytes a token`,
    );
  }
}

/** What a round took. */
interface Taken {
  readonly all: ProcessorTime;
  readonly engine: ProcessorTime;
  readonly report: ClientReport;
}

function rowOf(each: Pick<SseRow, 'route' | 'streams'>, taken: readonly Taken[], tokens: number): SseRow {
  const of = (value: (taken: Taken) => number) => median(taken.map(value)) / tokens;
  return {
    ...each,
    cpuUs: of(({ all }) => all.user + all.system),
    userUs: of(({ all }) => all.user),
    systemUs: of(({ all }) => all.system),
    engineUs: of(({ engine }) => engine.user + engine.system),
    tokensPerEvent: 1 / of(({ report }) => report.events),
    bytesPerToken: of(({ report }) => report.bytes),
  };
}

function program(name: string): string {
  return resolve(import.meta.dirname, `${name}.ts`);
}

function start(program: readonly string[], args: readonly string[] = []): LineProcess {
  return startLines(process.execPath, [...program, ...args], process.env);
}
