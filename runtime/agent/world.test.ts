// Several agents with their ranks as real processes, on loopback addresses.
import { afterEach, expect, it } from 'vitest';
import { FakePods } from './fake-pods.ts';

/** Longer than a busy machine keeps a process from its turn. */
const hangSeconds = '10';

let pods: FakePods;
afterEach(() => pods.close());

async function job(size: number, env: Record<string, string> = {}): Promise<FakePods> {
  pods = await FakePods.create({ WL_WORLD_SIZE: String(size), ...env });
  return pods;
}

const range = (size: number) => Array.from({ length: size }, (_, index) => index);

it('pods find each other by name, get one world numbered by their indices, and end together', async () => {
  await job(3, { WL_FAKE_STEPS: '60' });
  const running = await pods.start(...range(3));
  const world = await pods.world(0);
  expect(world.map(({ rank, index, endpoints }) => ({ rank, index, endpoints }))).toEqual(
    range(3).map((rank) => ({ rank, index: rank, endpoints: ['fake:0', 'fake:1', 'fake:2'] })),
  );
  expect(new Set(world.map(({ secret }) => secret)).size).toBe(1);
  expect(world[0]).not.toHaveProperty('secretOfJob');
  expect((await Promise.all(running.map(({ ended }) => ended))).map(({ code }) => code)).toEqual([0, 0, 0]);
});

it('a killed rank makes all start again in place, and is named with its pod, signal and call site', async () => {
  await job(3);
  await pods.start(...range(3));
  const [, second] = await pods.world(0);
  await pods.report('heartbeats of all', ({ ranks }) => ranks?.length === 3 && ranks.every(({ state }) => state === 'running'));
  process.kill(second!.pid, 'SIGKILL');
  const next = await pods.world(1);
  expect(next.map(({ index }) => index)).toEqual([0, 1, 2]);
  expect(next.map(({ secret }) => secret)).not.toContain(second!.secret);
  const { fault, restarts } = await pods.report('the fault', ({ fault }) => fault !== undefined);
  expect({
    ...fault,
    time: '',
    step: 0,
    message: fault?.message.replace(/step \d+/, 'step N'),
    restarts,
  }).toMatchInlineSnapshot(`
    {
      "code": "WL_RANK_LOST",
      "epoch": 0,
      "message": "rank 1 (pod moby-worker-1) was ended by SIGKILL at step N, after all-reduce 16 of group data-0 (call site block 3 gradient); all 3 ranks start again (restart 1 of 3)",
      "operation": "all-reduce",
      "pod": "moby-worker-1",
      "rank": 1,
      "restarts": 1,
      "signal": "SIGKILL",
      "site": "block 3 gradient",
      "step": 0,
      "time": "",
    }
  `);
});

it('when no restart is left, the pod of the cause says so and the others only follow', async () => {
  await job(2, { WL_MAX_RESTARTS: '1' });
  const running = await pods.start(0, 1);
  await pods.world(0);
  await pods.tell('crash-1');
  const [first, second] = await Promise.all(running.map(({ ended }) => ended));
  expect(second).toMatchObject({
    code: 75,
    words: { rank: 1, restarts: 1, message: 'rank 1 ended with code 75 and said nothing' },
  });
  expect(first?.code).toBe(92);
  expect(first?.words.message).toMatch(/^ended because rank 1 \(pod moby-worker-1\) ended with code 75/);
});

it.each([0, 1])(
  'a rule that wants a new pod ends that of the cause alone (pod %i), which says so; the others wait for the next one',
  async (index) => {
    const rules = [{ name: 'new-pod', exitCodes: [75], log: 'ended with code 75', action: 'RestartPod' }];
    await job(2, { WL_MAX_RESTARTS: '1', WL_JOB: JSON.stringify({ faults: { rules } }) });
    const running = await pods.start(0, 1);
    await pods.world(0);
    await pods.tell(`crash-${index}`);
    const { code, words } = await running[index]!.ended;
    expect({ code, words }).toMatchObject({ code: 75, words: { rank: index, rule: 'new-pod' } });
    await pods.forget(`crash-${index}`);
    await pods.start(index);
    expect((await pods.world(1)).map((seat) => seat.index)).toEqual([0, 1]);
  },
);

it('a user error ends the job without a restart in the words of the rank that met it', async () => {
  await job(3);
  const running = await pods.start(...range(3));
  await pods.world(0);
  await pods.tell('fail-1');
  const ends = await Promise.all(running.map(({ ended }) => ended));
  expect(ends.map(({ code }) => code)).toEqual([92, 64, 92]);
  expect(ends[1]?.words).toMatchObject({ code: 'WL_DATA_EMPTY', message: 'made to fail', remedy: 'Do not.', rank: 1 });
  expect(ends[1]?.words.restarts).toBeUndefined();
});

it('a rank that stands still is killed, named as silent, and replaced', async () => {
  await job(2, { WL_HANG_TIMEOUT_SECONDS: hangSeconds });
  await pods.start(0, 1);
  const [, second] = await pods.world(0);
  await pods.report('heartbeats of all', ({ ranks }) => ranks?.length === 2 && ranks.every(({ state }) => state === 'running'));
  process.kill(second!.pid, 'SIGSTOP');
  await pods.world(1);
  const { fault } = await pods.report('the fault', ({ fault }) => fault !== undefined);
  expect(fault).toMatchObject({ code: 'WL_HANG', rank: 1, pod: 'moby-worker-1' });
  expect(fault?.message).toMatch(/^rank 1 \(pod moby-worker-1\) has given no sign of life for \d+ s, stepping at step \d+/);
  expect(() => process.kill(second!.pid, 0)).toThrow('ESRCH');
});

it('a rank that is stopped before its first step is killed, named with what it was doing, and replaced', async () => {
  await job(2, { WL_HANG_TIMEOUT_SECONDS: hangSeconds });
  await pods.tell('preparing');
  await pods.start(0, 1);
  const [, second] = await pods.world(0);
  await pods.report('heartbeats of all', ({ ranks }) => ranks?.length === 2 && ranks.every(({ phase }) => phase === 'preparing'));
  process.kill(second!.pid, 'SIGSTOP');
  await pods.world(1);
  const { fault } = await pods.report('the fault', ({ fault }) => fault !== undefined);
  expect(fault).toMatchObject({ code: 'WL_HANG', rank: 1, pod: 'moby-worker-1' });
  expect(fault?.message).toMatch(/has given no sign of life for \d+ s, preparing \(loading \d+\) at step 0/);
});

it('a rank that has not entered the collective of the others is named with operation and call site', async () => {
  await job(3, { WL_HANG_TIMEOUT_SECONDS: hangSeconds });
  await pods.tell('behind', '2');
  await pods.start(...range(3));
  await pods.world(1);
  const { fault } = await pods.report('the fault', ({ fault }) => fault !== undefined);
  expect(fault?.message.replace(/for \d+ s/, 'for N s')).toMatchInlineSnapshot(
    `"rank 2 (pod moby-worker-2) has not entered all-reduce 17 of group data-0 (call site block 3 gradient) that ranks 0, 1 wait in for N s, stepping at step 0 after all-reduce 16 of group data-0 (call site block 3 gradient); all 3 ranks start again (restart 1 of 3)"`,
  );
});

it.each([
  ['one pod', [2]],
  ['all pods at once', [0, 1, 2]],
])('SIGTERM to %s lets all ranks save after the same step and end as preempted', async (_, asked) => {
  await job(3);
  const running = await pods.start(...range(3));
  await pods.world(0);
  await pods.report('steps', ({ ranks }) => ranks?.every(({ step = 0 }) => step > 0) === true);
  for (const index of asked) running[index]!.signal('SIGTERM');
  const ends = await Promise.all(running.map(({ ended }) => ended));
  expect(ends.map(({ code }) => code)).toEqual([90, 90, 90]);
  const saved = await Promise.all(range(3).map((index) => pods.read(`saved-${index}`)));
  expect(new Set(saved).size).toBe(1);
  expect(Number(saved[0])).toBeGreaterThan(0);
});

it('the rendezvous moves with pod 0 and goes on at the next epoch', async () => {
  await job(2);
  const [holder] = await pods.start(0, 1);
  await pods.world(0);
  holder!.signal('SIGKILL');
  await holder!.ended;
  await pods.start(0);
  const world = await pods.world(1);
  expect(world.map(({ index, rank }) => ({ index, rank }))).toEqual([
    { index: 0, rank: 0 },
    { index: 1, rank: 1 },
  ]);
});

it('an elastic job goes on with half of its pods when one is lost, and grows again when it is back, without losing a step', async () => {
  await job(4, { WL_ELASTIC_MIN: '1', WL_ELASTIC_WAIT_SECONDS: '1' });
  const running = await pods.start(...range(4));
  await pods.world(0);
  running[1]!.signal('SIGKILL');
  const small = await pods.world(1);
  expect(small.map(({ index, rank }) => ({ index, rank }))).toEqual([
    { index: 0, rank: 0 },
    { index: 2, rank: 1 },
  ]);
  const { standby } = await pods.report('a pod that stands by', (report) => report.standby !== undefined);
  expect(standby).toEqual(['moby-worker-3']);
  await pods.start(1);
  const large = await pods.world(2);
  expect(large.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
  expect(await pods.read('saved-0')).toBe(await pods.read('saved-2'));
  const { restarts } = pods.reports.at(-1)!;
  expect(restarts).toBe(1);
});

it('a pod with another secret is not let in, and learns nothing', async () => {
  await job(2);
  const [holder] = await pods.start(0);
  const stranger = await FakePods.create({ WL_WORLD_SIZE: '2', WL_SECRET: 'a secret that is another' });
  try {
    await stranger.joinTo(pods);
    const [guest] = await stranger.start(1);
    const lost = await pods.until('a refusal', () => guest!.lines.find(({ reason }) => reason !== undefined));
    expect(lost['reason']).toBe('the rendezvous does not know the secret of this job');
    expect(holder!.lines.map(({ message }) => message)).toEqual(['the rendezvous listens']);
  } finally {
    await stranger.close();
  }
});

it('a pod that finds no rendezvous says where it looks, and ends when it is asked to', async () => {
  await job(2);
  const [lonely] = await pods.start(1);
  const lost = await pods.until('a complaint', () => lonely!.lines.find(({ reason }) => reason !== undefined));
  expect(lost).toMatchObject({ message: 'the rendezvous is out of reach; trying again', rendezvous: 'moby-worker-0.moby:0' });
  lonely!.signal('SIGTERM');
  expect((await lonely!.ended).code).toBe(90);
});
