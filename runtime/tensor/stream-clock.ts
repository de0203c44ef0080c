// Tells when a stream gets to a place in what was enqueued on it: the time is taken on the stream's own thread, without waiting for it.
import { randomUUID } from 'node:crypto';
import * as kernels from '#kernels/binding.ts';
import { guarded } from './errors.ts';
import type { Stream } from './stream.ts';

export type { CommRecord } from '#kernels/binding.ts';

const barrier = guarded((...of: Parameters<typeof kernels.comm.barrier>) => kernels.comm.barrier(...of));

/** The newest operations of all communicators of this process; milliseconds of the wall clock. */
export const communicationLog = kernels.commLog;

/** Words that the groups of all clocks begin with. */
const groupName = 'clock';

/** Marks are operations of a communicator of one, so that the log has their times beside those of communication. */
export class StreamClock {
  readonly #stream: Stream;
  readonly #group = `${groupName} ${randomUUID()}`;
  /** From the first mark on. */
  #own: { readonly listener: kernels.ListenerHandle; readonly communicator: kernels.CommHandle } | undefined;
  #marks = 0;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** The number of a new mark, at the end of what the stream holds now. */
  mark(): number {
    this.#own ??= openAlone(this.#group);
    barrier(this.#stream.handle, this.#own.communicator, 'mark');
    this.#marks += 1;
    return this.#marks - 1;
  }

  /** Number of the mark that a record of the log is; undefined for all that is none of this clock's. */
  markOf({ group, sequence }: kernels.CommRecord): number | undefined {
    return group === this.#group ? sequence : undefined;
  }

  [Symbol.dispose](): void {
    if (!this.#own) return;
    kernels.commFree(this.#own.communicator);
    kernels.commCloseListener(this.#own.listener);
  }
}

function openAlone(name: string) {
  const { handle: listener, endpoint } = kernels.commListen();
  const secret = randomUUID();
  const alone = { listener, rank: 0, size: 1, endpoints: [endpoint], name, epoch: 0, secret, deadlineMs: 1000 };
  return { listener, communicator: kernels.commOpen(alone) };
}

/** Whether a record is a mark and not communication. */
export function isMark({ group }: Pick<kernels.CommRecord, 'group'>): boolean {
  return group.startsWith(`${groupName} `);
}
