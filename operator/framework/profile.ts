// Profiles of this process, in the formats that Chrome's developer tools and speedscope open.
import { Session } from 'node:inspector/promises';
import { setTimeout } from 'node:timers/promises';
import type { Pages } from './health-server.ts';

const defaultSeconds = 30;
const maxSeconds = 300;

/** One at a time: V8 has one profiler. */
let running: Promise<unknown> = Promise.resolve();

/** `/debug/profile?seconds=30`: where the time goes (.cpuprofile). `/debug/heap?seconds=30`: who allocates (.heapprofile). */
export const profilePages: Pages = {
  '/debug/profile': (query) =>
    recorded(query, async (session, ms) => {
      await session.post('Profiler.enable');
      await session.post('Profiler.start');
      await setTimeout(ms);
      return (await session.post('Profiler.stop')).profile;
    }),
  '/debug/heap': (query) =>
    recorded(query, async (session, ms) => {
      await session.post('HeapProfiler.startSampling');
      await setTimeout(ms);
      return (await session.post('HeapProfiler.stopSampling')).profile;
    }),
};

async function recorded(query: URLSearchParams, record: (session: Session, ms: number) => Promise<unknown>) {
  const seconds = Number(query.get('seconds') ?? defaultSeconds);
  if (!(seconds > 0 && seconds <= maxSeconds)) throw new Error(`seconds must be more than 0 and at most ${maxSeconds}`);
  const before = running;
  const profile = (async () => {
    await before.catch(() => {});
    const session = new Session();
    session.connect();
    try {
      return await record(session, seconds * 1000);
    } finally {
      session.disconnect();
    }
  })();
  running = profile;
  return { status: 200, contentType: 'application/json', body: JSON.stringify(await profile) };
}
