// Lines of several logs in the order of their times. Pure.
import type { LogLine } from './pod-log.ts';

export interface NamedLog {
  readonly pod: string;
  readonly lines: AsyncIterable<LogLine>;
}

/** One line of each log is held, whatever their length. A line without a time comes with the one before it. */
export async function* mergeLogs(logs: readonly NamedLog[]): AsyncGenerator<LogLine & { pod: string }> {
  const heads = await Promise.all(
    logs.map(async ({ pod, lines }) => {
      const iterator = lines[Symbol.asyncIterator]();
      return { pod, iterator, time: -1n, next: await iterator.next() };
    }),
  );
  let open = heads.filter(({ next }) => !next.done);
  try {
    while (open.length > 0) {
      for (const head of open) head.time = head.next.value?.time ?? head.time;
      const first = open.reduce((least, head) => (head.time < least.time ? head : least));
      yield { ...first.next.value!, pod: first.pod };
      first.next = await first.iterator.next();
      if (first.next.done) open = open.filter((head) => head !== first);
    }
  } finally {
    await Promise.all(open.map(async ({ iterator }) => await iterator.return?.(undefined)));
  }
}
