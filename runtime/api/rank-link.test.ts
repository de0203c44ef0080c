import { EventEmitter } from 'node:events';
import { expect, it, vi } from 'vitest';
import type { AgentMessage, RankMessage } from './messages.ts';
import { RankLink } from './rank-link.ts';

/** The agent's end of the channel. */
function connect() {
  const events = new EventEmitter();
  const said: RankMessage[] = [];
  const channel = Object.assign(events, {
    connected: true,
    send(message: unknown, _handle: undefined, _options: undefined, done: (error: Error | null) => void) {
      said.push(message as RankMessage);
      setImmediate(done, null);
      return true;
    },
  });
  return { link: new RankLink(channel), said, tell: (message: AgentMessage | object) => void events.emit('message', message) };
}

const world = { epoch: 3, worldSize: 2, rank: 1, endpoints: ['a', 'b'], secret: 's', deadlineMs: 1000 };
const isSettled = async (promise: Promise<unknown>) => {
  let settled = false;
  void promise.then(() => (settled = true));
  await new Promise(setImmediate);
  return settled;
};

it('announces itself and gets the world', async () => {
  const { link, said, tell } = connect();
  const announced = link.announce('b');
  expect(said).toEqual([{ type: 'endpoint', endpoint: 'b' }]);
  tell({ type: 'world', world: { ...world, rank: 'one' } });
  expect(await isSettled(announced)).toBe(false);
  tell({ type: 'world', world });
  expect(await announced).toEqual(world);
});

it('is a world of one without an agent', async () => {
  const link = new RankLink(new EventEmitter());
  expect(await link.announce('here')).toMatchObject({ worldSize: 1, rank: 0, endpoints: ['here'] });
  await link.send({ type: 'halted', step: 1 });
});

it('begins no step between its answer to a halt and the decision, and none after the agreed one', async () => {
  const { link, said, tell } = connect();
  expect(await link.mayStart(5)).toBe(true);
  tell({ type: 'halt' });
  expect(said).toEqual([{ type: 'halted', step: 5 }]);
  const next = link.mayStart(6);
  expect(await isSettled(next)).toBe(false);
  expect(link.signal.aborted).toBe(false);
  tell({ type: 'stop', step: 6 });
  expect(await next).toBe(true);
  expect(link.signal.aborted).toBe(true);
  expect(await link.mayStart(7)).toBe(false);
});

it('says that it has begun no step, and then begins none', async () => {
  const { link, said, tell } = connect();
  tell({ type: 'halt' });
  expect(said).toEqual([{ type: 'halted', step: -1 }]);
  tell({ type: 'stop', step: -1 });
  expect(await link.mayStart(1)).toBe(false);
});

it('beats when the first step is done, and not for those after it', async () => {
  const { link, said } = connect();
  let step = 0;
  using _beat = link.beat(() => ({ step, phase: 'stepping', collectives: [], rssBytes: 1, measuredSteps: 0 }));
  for (; step < 3; step++) await link.mayStart(step + 1);
  expect(said.map((message) => message.type === 'heartbeat' && message.heartbeat.step)).toEqual([0, 1]);
});

it('beats at once and each second until it is disposed of', () => {
  vi.useFakeTimers();
  try {
    const { link, said } = connect();
    let step = 0;
    const beat = link.beat(() => ({ step: ++step, phase: 'stepping', collectives: [], rssBytes: 1, measuredSteps: 0 }));
    vi.advanceTimersByTime(2_500);
    beat[Symbol.dispose]();
    vi.advanceTimersByTime(5_000);
    expect(said.map((message) => message.type === 'heartbeat' && message.heartbeat.step)).toEqual([1, 2, 3]);
  } finally {
    vi.useRealTimers();
  }
});
