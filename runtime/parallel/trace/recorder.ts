// Records what a rank did in some steps: computation by marks on its stream, communication from the log that every operation is in anyway.
import { communicationLog, isMark, Stream, StreamClock } from '#runtime/tensor/main.ts';
import type { CommRecord, Device } from '#runtime/tensor/main.ts';
import type { Computation, ComputeObserver } from '../execution/observer.ts';
import type { Mesh } from '../execution/mesh.ts';
import { computeRow, traceEvent } from './chrome.ts';
import type { RankTrace, TraceEvent } from './chrome.ts';

/** Between two marks; without a computation, a whole step. */
interface Interval {
  readonly computation: Computation | undefined;
  readonly step: number;
  readonly begin: number;
  end?: number;
  inFlight?: number | undefined;
}

/** Milliseconds of the wall clock: when JavaScript set a mark, and when the stream came by. */
interface Moment {
  readonly enqueued: number;
  readonly reached: number;
}

/** Marks after which the log is read: with what communicates between them, far fewer than the 4,096 operations that it holds. */
const marksPerReading = 256;

type Communication = CommRecord & { readonly step: number };

export class TraceRecorder implements ComputeObserver {
  readonly #mesh: Mesh;
  readonly #stream: Stream;
  readonly #clock: StreamClock;
  #intervals: Interval[] = [];
  #open: Interval[] = [];
  #readUntil = 0;
  readonly #moments = new Map<number, Moment>();
  readonly #communication = new Map<string, Communication>();

  constructor(mesh: Mesh, device: Device) {
    this.#mesh = mesh;
    this.#stream = Stream.of(device);
    this.#clock = new StreamClock(this.#stream);
  }

  /** Records until `stop`. Steps count from 1; one that begins anew replaces what there is of it. */
  start(step: number): void {
    this.#intervals = this.#intervals.filter((interval) => interval.step !== step);
    this.#open = [];
    this.#push(undefined, step);
  }

  /** The step is over and has run. */
  stop(): void {
    if (this.#open.length === 0) return;
    this.end();
    this.#open = [];
    this.#collect();
  }

  begin(computation: Computation): void {
    const [step] = this.#open;
    if (step) this.#push(computation, step.step);
  }

  end(inFlight?: number): void {
    const interval = this.#open.pop();
    if (!interval) return;
    const end = this.#clock.mark();
    Object.assign(interval, { end, inFlight });
    if (end - this.#readUntil < marksPerReading) return;
    this.#readUntil = end;
    this.#collect();
  }

  /** What was recorded, once the stream has come to the end of it. Rejects with the stream's error. */
  async read(): Promise<RankTrace> {
    await this.#stream.sync();
    this.#collect();
    const { rank, layout, at } = this.#mesh;
    const rows = new Map([[computeRow, 0]]);
    const rowOf = (name: string): number => {
      if (!rows.has(name)) rows.set(name, rows.size);
      return rows.get(name) ?? 0;
    };
    const events = [
      ...this.#intervals.flatMap((interval) => this.#eventsOf(interval)),
      ...[...this.#communication.values()].map((record) => eventOf(record, rowOf(rowNameOf(record)))),
    ];
    const named = (name: string, tid: number, words: string): TraceEvent => ({ name, ph: 'M', tid, args: { name: words } });
    const names = [named('process_name', 0, `rank ${rank}`), ...[...rows].map(([name, row]) => named('thread_name', row, name))];
    return {
      displayTimeUnit: 'ms',
      otherData: { rank, world: layout.world, at },
      traceEvents: [...names, ...events].map((event) => ({ ...event, pid: rank })),
    };
  }

  [Symbol.dispose](): void {
    this.#clock[Symbol.dispose]();
  }

  #push(computation: Computation | undefined, step: number): void {
    const interval: Interval = { computation, step, begin: this.#clock.mark() };
    this.#intervals.push(interval);
    this.#open.push(interval);
  }

  /** Takes over what the log has of this rank; ranks may share a process and its log. */
  #collect(): void {
    const log = communicationLog().filter(({ state }) => state === 'done');
    for (const record of log) {
      const mark = this.#clock.markOf(record);
      if (mark !== undefined) this.#moments.set(mark, { enqueued: record.enqueuedMs, reached: record.startedMs });
    }
    const own = new Set(this.#mesh.communicators.map(({ name, rank }) => `${name} ${rank}`));
    for (const record of log) {
      if (isMark(record) || !own.has(`${record.group} ${record.rank}`)) continue;
      const step = this.#stepAt(record.enqueuedMs);
      if (step !== undefined)
        this.#communication.set(`${rowNameOf(record)} ${record.peer} ${record.sequence}`, { ...record, step });
    }
  }

  /** The step in which something was enqueued. */
  #stepAt(enqueuedMs: number): number | undefined {
    const within = ({ computation, begin, end = -1 }: Interval) => {
      const from = this.#moments.get(begin)?.enqueued ?? Infinity;
      const to = this.#moments.get(end)?.enqueued ?? Infinity;
      return !computation && from <= enqueuedMs && enqueuedMs <= to;
    };
    return this.#intervals.findLast(within)?.step;
  }

  #eventsOf({ computation, step, begin, end = -1, inFlight }: Interval): TraceEvent[] {
    const [beganMs, endedMs] = [this.#moments.get(begin)?.reached, this.#moments.get(end)?.reached];
    if (beganMs === undefined || endedMs === undefined) return [];
    const event = (name: string, category: 'step' | 'unit' | 'action', args: object) =>
      traceEvent(name, category, { beganMs, endedMs }, 0, { step, ...args });
    if (!computation) return [event(`step ${step}`, 'step', {})];
    if ('unit' in computation) {
      const { unit, pass } = computation;
      const name = unit.members.map(({ state }) => state.layout.name).join(' + ');
      return [event(`${name} ${pass}`, 'unit', { unit: unit.index, pass })];
    }
    const { type, stage, grain } = computation.action;
    const held: TraceEvent = {
      name: 'activations in flight',
      ph: 'C',
      ts: endedMs * 1e3,
      tid: 0,
      args: { grains: inFlight ?? 0 },
    };
    return [event(`${type} ${stage}.${grain}`, 'action', { type, stage, grain }), held];
  }
}

/** Operations of a row run one after the other: those of a communicator, but for what it sends and receives. */
function rowNameOf({ group, op }: CommRecord): string {
  return op === 'send' || op === 'receive' ? `${op} ${group}` : group;
}

function eventOf(record: Communication, row: number): TraceEvent {
  const { step, group, sequence, op, site, bytesSent, enqueuedMs, startedMs, endedMs } = record;
  const args = { step, operation: op, group, sequence, bytesSent, waitedMs: startedMs - enqueuedMs };
  return traceEvent(site, 'communication', { beganMs: startedMs, endedMs }, row, args);
}
