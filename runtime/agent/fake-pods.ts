// For tests: a job of several pods on this machine, with real agents and a rank process that only counts steps.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createInProcessBus } from '#runtime/api/bus.ts';
import { serveBus } from '#runtime/api/bus-socket.ts';
import { ProgressReport, TerminationMessage } from '#runtime/api/messages.ts';
import type { World } from '#runtime/api/messages.ts';

const source = (path: string) => join(import.meta.dirname, path);

/**
 * A rank: announces itself, counts steps of 10 ms up to WL_FAKE_STEPS, resumes from the step that it saved. Files in its folder tell it to fail
 * (`fail-INDEX`: a user error; `crash-INDEX`: a fault that may pass), to stand still (`behind`: index of the rank that the others wait for) or to
 * prepare for ever (`preparing`).
 */
const rankScript = `
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RankLink } from ${JSON.stringify(source('../api/rank-link.ts'))};
process.on('disconnect', () => process.exit(80));
const { WL_FOLDER: folder, WL_RANK: index, WL_FAKE_STEPS } = process.env;
const file = (name) => folder + '/' + name;
const has = (name) => existsSync(file(name));
const saved = file('saved-' + index);
const link = new RankLink();
let step = existsSync(saved) ? Number(readFileSync(saved, 'utf8')) : 0;
let waits = { sequence: 16, state: 'done' };
let loaded = 0;
const isPreparing = () => has('preparing') && world.epoch === 0;
const world = await link.announce('fake:' + index);
appendFileSync(file('worlds'), JSON.stringify({ index: Number(index), pid: process.pid, secretOfJob: process.env.WL_SECRET, ...world }) + '\\n');
link.beat(() => ({
  step, ...(isPreparing() ? { phase: 'preparing', activity: 'loading ' + loaded } : { phase: 'stepping' }), rssBytes: process.memoryUsage.rss(), measuredSteps: 0,
  collectives: [{ group: 'data-0', operation: 'all-reduce', site: 'block 3 gradient', ...waits }],
}));
const fail = async (code, exit) => {
  await link.send({ type: 'failed', code, message: 'made to fail', remedy: 'Do not.', step });
  process.exit(exit);
};
while (isPreparing()) {
  loaded += 1;
  link.send({ type: 'progress', progress: { step, steps: Number(WL_FAKE_STEPS), phase: 'loading' } });
  await sleep(10);
}
while (step < Number(WL_FAKE_STEPS)) {
  if (has('fail-' + index)) await fail('WL_DATA_EMPTY', 64);
  if (has('crash-' + index)) process.exit(75);
  if (has('behind') && world.epoch === 0) {
    if (readFileSync(file('behind'), 'utf8') !== index) waits = { sequence: 17, state: 'waiting' };
  } else {
    if (!(await link.mayStart(step + 1))) {
      writeFileSync(saved, String(step));
      process.exit(90);
    }
    step += 1;
    link.send({ type: 'progress', progress: { step, steps: Number(WL_FAKE_STEPS) } });
  }
  await sleep(10);
}
process.exit(0);
`;

/** An agent as a process that can be killed. Its log goes to stdout. */
const agentScript = `
import { runAgent } from ${JSON.stringify(source('agent.ts'))};
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('disconnect', () => process.exit(1));
const log = (fields, message) => console.log(JSON.stringify({ ...fields, message }));
process.exit(await runAgent({ rankCommand: [process.execPath, process.env.WL_FOLDER + '/rank.mjs'], env: process.env, signal: stop.signal, log }));
`;

export interface FakePod {
  readonly lines: readonly Record<string, unknown>[];
  signal(signal: NodeJS.Signals): void;
  /** Exit code and last words. */
  readonly ended: Promise<{ code: number | null; words: TerminationMessage }>;
}

export interface SeenWorld extends World {
  readonly index: number;
  readonly pid: number;
}

export class FakePods {
  readonly reports: ProgressReport[] = [];
  readonly #children = new Set<ChildProcess>();
  readonly #env: Record<string, string>;
  readonly folder: string;
  readonly #closeBus: () => void;
  #port = 0;
  #starts = 0;

  private constructor(folder: string, env: Record<string, string>, reports: ProgressReport[], closeBus: () => void) {
    this.folder = folder;
    this.reports = reports;
    this.#closeBus = closeBus;
    this.#env = {
      PATH: process.env['PATH'] ?? '',
      WL_FOLDER: folder,
      WL_NAMESPACE: 'default',
      WL_NAME: 'moby',
      WL_UID: 'u1',
      WL_ATTEMPT: '0',
      WL_JOB: '{}',
      WL_JOB_DIR: folder,
      WL_MODELS_DIR: folder,
      WL_MODELS_URI: 'pvc://models',
      WL_MAX_RESTARTS: '3',
      WL_SECRET: 'a secret that only this job knows',
      WL_HOSTS_FILE: join(folder, 'hosts'),
      WL_BUS: `unix:${join(folder, 'bus.sock')}`,
      WL_FAKE_STEPS: '100000',
      ...env,
    };
  }

  static async create(env: Record<string, string>): Promise<FakePods> {
    const folder = await mkdtemp(join(tmpdir(), 'wl-pods-'));
    await writeFile(join(folder, 'rank.mjs'), rankScript);
    await writeFile(join(folder, 'agent.mjs'), agentScript);
    await writeFile(join(folder, 'worlds'), '');
    const bus = createInProcessBus();
    const reports: ProgressReport[] = [];
    bus.subscribe('>', (payload) => reports.push(ProgressReport.parse(payload)));
    const server = await serveBus(bus, join(folder, 'bus.sock'));
    return new FakePods(folder, env, reports, () => server.close());
  }

  /** Starts pods; pod 0 first, as its port is not known before. */
  async start(...indices: number[]): Promise<FakePod[]> {
    const pods: FakePod[] = [];
    for (const index of indices) {
      const pod = await this.#startPod(index);
      pods.push(pod);
      if (index === 0)
        this.#port = Number((await this.until('a port', () => pod.lines.find(({ port }) => port !== undefined)))['port']);
    }
    return pods;
  }

  async #startPod(index: number): Promise<FakePod> {
    const { folder } = this;
    this.#starts += 1;
    const address = `127.0.0.${1 + (index === 0 ? this.#starts : 1)}`;
    if (index === 0) await writeFile(join(folder, 'hosts'), `${address} moby-worker-0.moby\n`);
    const termination = join(folder, `termination-${index}-${this.#starts}`);
    const child = spawn(process.execPath, [join(folder, 'agent.mjs')], {
      env: {
        ...this.#env,
        WL_RANK: String(index),
        WL_POD_NAME: `moby-worker-${index}`,
        WL_POD_IP: address,
        WL_RENDEZVOUS: `moby-worker-0.moby:${this.#port}`,
        WL_RENDEZVOUS_PORT: String(this.#port),
        WL_TERMINATION_LOG: termination,
      },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    this.#children.add(child);
    const lines: Record<string, unknown>[] = [];
    createInterface({ input: child.stdout! }).on('line', (line) => lines.push(JSON.parse(line) as Record<string, unknown>));
    return {
      lines,
      signal: (signal) => void child.kill(signal),
      ended: once(child, 'close').then(async ([code]) => {
        const text = await readFile(termination, 'utf8').catch(() => '{}');
        return { code: code as number | null, words: TerminationMessage.parse(JSON.parse(text)) };
      }),
    };
  }

  /** What the ranks of an epoch were told, in the order of their ranks, when all of them were. */
  world(epoch: number): Promise<SeenWorld[]> {
    return this.until(`the world of epoch ${epoch}`, async () => {
      const seen = (await this.worlds()).filter((world) => world.epoch === epoch).sort((a, b) => a.rank - b.rank);
      return seen.length > 0 && seen.length === seen[0]?.worldSize ? seen : undefined;
    });
  }

  async worlds(): Promise<SeenWorld[]> {
    const text = await readFile(join(this.folder, 'worlds'), 'utf8');
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as SeenWorld);
  }

  /** The first report that `test` holds for. */
  report(what: string, test: (report: ProgressReport) => boolean): Promise<ProgressReport> {
    return this.until(what, () => this.reports.find(test));
  }

  async tell(file: string, text = ''): Promise<void> {
    await writeFile(join(this.folder, file), text);
  }

  async forget(file: string): Promise<void> {
    await rm(join(this.folder, file));
  }

  read(file: string): Promise<string> {
    return readFile(join(this.folder, file), 'utf8');
  }

  /** Lets the pods look for the rendezvous of another job. */
  async joinTo(other: FakePods): Promise<void> {
    this.#port = other.#port;
    await writeFile(join(this.folder, 'hosts'), await other.read('hosts'));
  }

  async until<T>(what: string, condition: () => T | Promise<T>): Promise<NonNullable<T>> {
    const deadline = performance.now() + 60_000;
    for (;;) {
      const value = await condition();
      if (value) return value;
      if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(
      [...this.#children].map(
        (child) =>
          new Promise((done) => (child.exitCode === null && child.signalCode === null ? child.on('exit', done) : done(0))),
      ),
    );
    this.#closeBus();
    await rm(this.folder, { recursive: true, maxRetries: 20, retryDelay: 50 });
  }
}
