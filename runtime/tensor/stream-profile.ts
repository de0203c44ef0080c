// Records what every stream of the process does, for a profile. One at a time: the compute core has one list.
import { comm, readTrace, trace } from '#kernels/binding.ts';
import type { StreamEvent } from '#kernels/binding.ts';
import type { ProfilePart, ProfileSpan, SpanKind } from '#runtime/api/profile/part.ts';
import type { Device } from './device.ts';

/** Events that are kept: about 5 MB of a file, and some hundred tokens of a small model. */
const maxEvents = 50_000;

const communication = new Set(Object.keys(comm));
const waiting = new Set(['wait', 'sync']);

export class StreamProfile {
  readonly #device: Device;

  private constructor(device: Device) {
    this.#device = device;
  }

  /** Resolves once everything that `device` does from now on is recorded. */
  static async start(device: Device): Promise<StreamProfile> {
    trace(maxEvents);
    await device.sync();
    return new StreamProfile(device);
  }

  /** Ends the recording. The first row is that of the device. */
  async stop(): Promise<Pick<ProfilePart, 'rows' | 'spans' | 'left'>> {
    // The second one tells that the event of the first is there.
    await this.#device.sync();
    await this.#device.sync();
    trace(0);
    const { events, seen } = readTrace(maxEvents);
    const byStream = Map.groupBy(events, ({ stream }) => stream);
    const others = [...byStream.keys()].filter((stream) => stream !== this.#device.stream);
    const streams = [this.#device.stream, ...others];
    const offsetUs = wallClockUs() - Number(process.hrtime.bigint()) / 1e3;
    return {
      rows: streams.map((stream, index) => rowName(byStream.get(stream) ?? [], index)),
      spans: streams.flatMap((stream, row) => spansOf(byStream.get(stream) ?? [], row, offsetUs)),
      left: seen - events.length,
    };
  }
}

/** Microseconds since 1970, finer than a millisecond. */
export function wallClockUs(): number {
  return (performance.timeOrigin + performance.now()) * 1e3;
}

function spansOf(events: readonly StreamEvent[], row: number, offsetUs: number): ProfileSpan[] {
  return events.map(({ op, beginNs, endNs }, index) => {
    const kind = kindOf(op);
    const next = events[index + 1]?.op;
    const name = kind === 'idle' && next !== undefined ? `idle, until ${next} was enqueued` : op;
    return { row, name, kind, beginUs: beginNs / 1e3 + offsetUs, endUs: endNs / 1e3 + offsetUs };
  });
}

function kindOf(op: string): SpanKind {
  if (op === 'idle') return 'idle';
  if (waiting.has(op)) return 'waiting';
  return communication.has(op) ? 'communication' : 'operation';
}

function rowName(events: readonly StreamEvent[], index: number): string {
  if (index === 0) return 'compute';
  return events.some(({ op }) => communication.has(op)) ? `communication ${index}` : `stream ${index}`;
}
