import { describe, expect, it } from 'vitest';
import { FaultRules } from '#crds/v1alpha1/fault-rules.ts';
import type { Heartbeat } from '#runtime/api/messages.ts';
import type { FromAgent, ToAgent } from '#runtime/api/rendezvous.ts';
import { Coordinator } from './coordinator.ts';
import type { CoordinatorOptions, Place } from './coordinator.ts';

const beat = (step: number, phase: Heartbeat['phase'] = 'stepping', more: Partial<Heartbeat> = {}): Heartbeat => ({
  step,
  phase,
  ...more,
  collectives: more.collectives ?? [],
  rssBytes: 1,
  measuredSteps: 0,
});

/** A job on a clock of its own; agents that write down what they are told. */
class Job {
  now = 0;
  readonly coordinator: Coordinator;
  readonly #told = new Map<number, ToAgent[]>();
  readonly #places = new Map<number, Place>();

  constructor(pods: number, options: Partial<CoordinatorOptions> & { min?: number } = {}) {
    const { min = pods, ...more } = options;
    this.coordinator = new Coordinator({
      rule: { pods, min, max: pods },
      maxRestarts: 3,
      windowMs: 5_000,
      now: () => this.now,
      time: () => '',
      log: () => {},
      ...more,
    });
  }

  join(index: number, epoch = -1): this {
    this.#told.set(index, []);
    const send = (said: ToAgent) => void this.#told.get(index)?.push(said);
    this.#places.set(index, this.coordinator.join({ index, pod: `pod-${index}`, epoch, send }));
    return this;
  }

  leave(index: number): this {
    this.#places.get(index)?.leave();
    return this;
  }

  say(index: number, said: FromAgent): this {
    this.#places.get(index)?.hear(said);
    return this;
  }

  /** Lets time pass in ticks of 250 ms. */
  pass(ms: number): this {
    for (const end = this.now + ms; this.now < end; this.coordinator.tick()) this.now = Math.min(end, this.now + 250);
    return this;
  }

  /** What an agent was told since the last look, in words. */
  told(index: number): string[] {
    const said = this.#told.get(index)?.splice(0) ?? [];
    return said.map((one) => {
      switch (one.case) {
        case 'world':
          return `world ${one.value.epoch} rank ${one.value.rank} of ${one.value.endpoints.join(' ')}`;
        case 'stop':
          return `stop ${one.value.epoch} after ${one.value.step}`;
        case 'start':
          return `start ${one.value.epoch}${one.value.restarts > 0 ? ` restarts ${one.value.restarts}` : ''}`;
        case 'end':
          return `end ${one.value.exitCode}`;
        case 'challenge':
          return one.case;
        default:
          return `${one.case} ${one.value.epoch}`;
      }
    });
  }

  /** Pods that announce themselves in a world that has just started. */
  announce(epoch: number, ...indices: number[]): this {
    for (const index of indices) this.say(index, { case: 'endpoint', value: { epoch, endpoint: `at-${index}` } });
    return this;
  }

  end(index: number, epoch: number, ending: { exitCode?: number; signal?: string; killed?: boolean }): this {
    return this.say(index, { case: 'ended', value: { epoch, killed: false, ...ending } });
  }

  beat(epoch: number, heartbeat: Heartbeat, ...indices: number[]): this {
    for (const index of indices) this.say(index, { case: 'beat', value: { epoch, heartbeat } });
    return this;
  }

  /** A world of all pods that steps, with nothing left to be told. */
  static running(pods: number, options: ConstructorParameters<typeof Job>[1] = {}): Job {
    const job = new Job(pods, options);
    const indices = Array.from({ length: pods }, (_, index) => index);
    for (const index of indices) job.join(index);
    job.announce(0, ...indices).beat(0, beat(1), ...indices);
    for (const index of indices) job.told(index);
    return job;
  }
}

const died = { signal: 'SIGKILL' };
const killed = { signal: 'SIGKILL', killed: true };

describe('a world', () => {
  it('is made when all pods are there, and met when all ranks listen', () => {
    const job = new Job(2).join(1).pass(60_000).join(0);
    expect([job.told(0), job.told(1)]).toEqual([['start 0'], ['start 0']]);
    job.announce(0, 1);
    expect(job.told(1)).toEqual([]);
    job.announce(0, 0);
    expect([job.told(0), job.told(1)]).toEqual([['world 0 rank 0 of at-0 at-1'], ['world 0 rank 1 of at-0 at-1']]);
  });

  it('drops what belongs to an older epoch', () => {
    const job = Job.running(2).end(0, 0, died).end(1, 0, killed).pass(1_000);
    expect([job.told(0), job.told(1)]).toEqual([['start 1 restarts 1'], ['kill 0', 'start 1 restarts 1']]);
    job.announce(0, 0, 1).end(1, 0, { exitCode: 0 });
    expect([...job.told(0), ...job.told(1)]).toEqual([]);
    job.announce(1, 0, 1);
    expect(job.told(1)).toEqual(['world 1 rank 1 of at-0 at-1']);
  });

  it('goes on above the epochs that agents bring along when the rendezvous has moved', () => {
    const job = new Job(2).join(1, 7).join(0);
    expect(job.told(1)).toEqual(['kill 7', 'start 8']);
  });

  it('takes an agent back whose connection broke for a moment, and tells it what it missed', () => {
    const job = Job.running(2).leave(1).pass(2_000).join(1, 0);
    expect([job.told(0), job.told(1)]).toEqual([[], ['world 0 rank 1 of at-0 at-1']]);
    expect(job.coordinator.restarts).toBe(0);
  });

  it('starts again when a pod came back without its rank', () => {
    const job = Job.running(2).leave(1).join(1, -1).end(0, 0, killed).pass(1_000);
    expect([job.told(0), job.told(1)]).toEqual([['kill 0', 'start 1 restarts 1'], ['start 1 restarts 1']]);
  });

  it('ends when all ranks are done', () => {
    const job = Job.running(2).end(1, 0, { exitCode: 0 }).pass(10_000);
    expect(job.told(1)).toEqual([]);
    job.end(0, 0, { exitCode: 0 });
    expect([job.told(0), job.told(1)]).toEqual([['end 0'], ['end 0']]);
  });

  it('starts all again when one fails after others are done', () => {
    const job = Job.running(2).end(1, 0, { exitCode: 0 }).end(0, 0, { exitCode: 75 }).pass(1_000);
    expect([job.told(0), job.told(1)]).toEqual([['start 1 restarts 1'], ['start 1 restarts 1']]);
  });

  it('waits as long as pods are away, and says once which', () => {
    const lines: string[] = [];
    const job = new Job(4, { log: (_, message) => void lines.push(message) }).join(0).join(2).pass(3_600_000);
    expect(lines).toEqual(['waiting for the pods of index 1, 3']);
    job.join(1).join(3);
    expect(job.told(3)).toEqual(['start 0']);
  });
});

describe('restarts', () => {
  it('kill the others at once when the cause is known', () => {
    expect(Job.running(3).end(1, 0, died).told(0)).toEqual(['kill 0']);
  });

  it('wait half a second for the cause when a rank only lost a peer', () => {
    const job = Job.running(3);
    const failure = { code: 'WL_RANK_LOST', message: 'peer 1', remedy: '' };
    job.say(0, { case: 'ended', value: { epoch: 0, killed: false, exitCode: 80, failure } }).pass(250);
    expect(job.told(2)).toEqual([]);
    job.end(1, 0, { exitCode: 64 });
    expect(job.told(2)).toEqual(['kill 0']);
    job.end(2, 0, killed);
    expect([job.told(0), job.told(1), job.told(2)]).toEqual([['end 92'], ['end 64'], ['end 92']]);
  });

  it('back off from 200 ms, and start at 200 ms again after progress', () => {
    const job = Job.running(1, { maxRestarts: 99 });
    const waits = Array.from({ length: 5 }, (_, epoch) => {
      if (epoch === 4) job.beat(epoch, beat(50), 0).beat(epoch, beat(51), 0);
      const before = job.now;
      job.end(0, epoch, died);
      while (job.told(0).length === 0) {
        job.now += 100;
        job.coordinator.tick();
      }
      return job.now - before;
    });
    expect(waits).toEqual([200, 400, 800, 1600, 200]);
  });

  it('count worlds, not ranks', () => {
    const job = Job.running(4).end(0, 0, died).end(1, 0, died).end(2, 0, died).end(3, 0, killed).pass(1_000);
    expect([job.told(0).at(-1), job.coordinator.restarts]).toEqual(['start 1 restarts 1', 1]);
  });

  it('replace a rank that hangs, once', () => {
    const job = Job.running(2, { hangTimeoutMs: 5_000 });
    for (let second = 1; second <= 7; second++) job.beat(0, beat(second), 0).pass(1_000);
    expect([job.told(0), job.told(1)]).toEqual([['kill 0'], ['kill 0']]);
    job.end(0, 0, killed).end(1, 0, killed).pass(1_000);
    expect(job.coordinator.view.fault).toMatchObject({ code: 'WL_HANG', rank: 1 });
  });

  it('replace the rank whose preparation stands still for ten minutes, however often the others ask for it', () => {
    const job = Job.running(2);
    const question = (sequence: number, state: 'waiting' | 'done') => ({
      group: 'world',
      operation: 'all-gather',
      site: 'exchange',
      sequence,
      state,
    });
    const prepare = (seconds: number, share: (second: number) => number) => {
      for (let second = 1; second <= seconds; second++) {
        job.beat(
          0,
          beat(0, 'preparing', { activity: `tokenizing ${share(second)} %`, collectives: [question(second, 'done')] }),
          0,
        );
        job
          .beat(0, beat(0, 'preparing', { activity: 'preparing', collectives: [question(second + 1, 'waiting')] }), 1)
          .pass(1_000);
      }
    };
    prepare(20_000, (second) => second / 250);
    expect([...job.told(0), ...job.told(1)]).toEqual([]);
    prepare(599, () => 81);
    expect([...job.told(0), ...job.told(1)]).toEqual([]);
    prepare(3, () => 81);
    expect([job.told(0), job.told(1)]).toEqual([['kill 0'], ['kill 0']]);
    job.end(0, 0, killed).end(1, 0, killed).pass(1_000);
    expect(job.coordinator.view.fault).toMatchObject({
      code: 'WL_HANG',
      rank: 0,
      message: expect.stringContaining('(tokenizing 81 %)'),
    });
  });

  it('replace a rank that was stopped while it started or prepared', () => {
    const mute = new Job(2).join(0).join(1);
    mute.announce(0, 0).beat(0, beat(0, 'preparing'), 0);
    expect([mute.told(0), mute.told(1)]).toEqual([['start 0'], ['start 0']]);
    for (let second = 1; second <= 119; second++) mute.beat(0, beat(0, 'preparing', { activity: `${second}` }), 0).pass(1_000);
    expect([...mute.told(0), ...mute.told(1)]).toEqual([]);
    mute.pass(1_500);
    expect(mute.told(1)).toEqual(['kill 0']);
    mute.end(0, 0, killed).end(1, 0, killed).pass(1_000);
    expect(mute.coordinator.view.fault).toMatchObject({ code: 'WL_HANG', rank: 1 });
  });

  it('are not made because the rendezvous itself was stopped for a while', () => {
    const job = Job.running(2, { hangTimeoutMs: 5_000 });
    job.now += 60_000;
    job.coordinator.tick();
    job.beat(0, beat(2), 0, 1).pass(1_000);
    expect([...job.told(0), ...job.told(1)]).toEqual([]);
  });
});

describe('a rule of the job', () => {
  const replaces = FaultRules.parse([{ name: 'new-pod', signals: ['SIGKILL'], action: 'RestartPod' }]);

  it.each([0, 1])(
    'ends the pod of the cause alone (pod %i); the others meet its successor, and no restart is counted here',
    (index) => {
      const other = 1 - index;
      const job = Job.running(2, { rules: replaces }).end(index, 0, died).end(other, 0, killed).pass(10_000);
      expect([job.told(index), job.told(other)]).toEqual([['end 80'], ['kill 0']]);
      job.leave(index).join(index).pass(1_000);
      expect([job.told(index), job.told(other)]).toEqual([['start 1'], ['start 1']]);
      expect(job.coordinator.restarts).toBe(0);
    },
  );

  it('lets ranks start again free of charge', () => {
    const rules = FaultRules.parse([{ name: 'free', action: 'Ignore' }]);
    const job = Job.running(1, { rules, maxRestarts: 0 }).end(0, 0, died).pass(1_000);
    expect(job.told(0)).toEqual(['start 1']);
    expect([job.coordinator.restarts, job.coordinator.view.fault?.rule]).toEqual([0, 'free']);
  });
});

describe('a stop', () => {
  const halted = (step: number): FromAgent => ({ case: 'halted', value: { epoch: 0, step } });

  it('is agreed on: all save after the newest step that any has begun', () => {
    const job = Job.running(3).say(1, { case: 'leaving', value: {} });
    expect(job.told(2)).toEqual(['halt 0']);
    job.say(0, halted(7)).say(1, halted(8));
    expect(job.told(2)).toEqual([]);
    job.say(2, halted(7));
    expect([0, 1, 2].map((index) => job.told(index).at(-1))).toEqual(Array(3).fill('stop 0 after 8'));
    for (const index of [0, 1, 2]) job.end(index, 0, { exitCode: 90 });
    expect([0, 1, 2].map((index) => job.told(index))).toEqual(Array.from({ length: 3 }, () => ['end 90']));
  });

  it('of ranks that have not met ends them without a word', () => {
    const job = new Job(2).join(0).join(1).say(1, { case: 'leaving', value: {} });
    expect([job.told(0), job.told(1)]).toEqual(Array.from({ length: 2 }, () => ['start 0', 'kill 0', 'end 90']));
  });

  it('names the rank that does not answer', () => {
    const job = Job.running(2).say(0, { case: 'leaving', value: {} }).say(0, halted(7)).pass(10_500);
    job.end(0, 0, killed).end(1, 0, killed).pass(250);
    expect(job.coordinator.view.fault).toMatchObject({ rank: 1, code: 'WL_HANG' });
    expect(job.told(1).at(-1)).toBe('end 90');
  });
});

describe('an elastic job', () => {
  const elastic = { min: 1 };

  it('shrinks to a power-of-two share when a pod stays away for the window', () => {
    const job = Job.running(4, elastic).leave(1).pass(3_500);
    for (const index of [0, 2, 3]) job.end(index, 0, killed);
    job.pass(4_500);
    expect([0, 2, 3].map((index) => job.told(index))).toEqual(Array.from({ length: 3 }, () => ['kill 0']));
    job.pass(1_000);
    expect([0, 2, 3].map((index) => job.told(index))).toEqual([['start 1 restarts 1'], ['start 1 restarts 1'], []]);
    expect(job.coordinator.view.standby).toEqual(['pod-3']);
  });

  it('grows again when all have been back for the window, with an agreed stop and without counting it', () => {
    const job = new Job(2, elastic).join(0).pass(61_000).announce(0, 0).beat(0, beat(5), 0);
    expect(job.told(0)).toEqual(['start 0', 'world 0 rank 0 of at-0']);
    job.join(1).pass(4_000);
    expect(job.told(0)).toEqual([]);
    job.pass(1_000);
    expect(job.told(0)).toEqual(['stop 0 after 5']);
    job.end(0, 0, { exitCode: 90 });
    expect([job.told(0), job.told(1), job.coordinator.restarts]).toEqual([['start 1'], ['start 1'], 0]);
  });

  it('does not grow while it evaluates', () => {
    const job = new Job(2, elastic).join(0).pass(61_000).announce(0, 0).beat(0, beat(5, 'evaluating'), 0);
    job.told(0);
    job.join(1).pass(10_000);
    expect(job.told(0)).toEqual([]);
  });

  it('lets a pod go that was asked to end, and goes on with the others', () => {
    const job = Job.running(2, elastic).say(1, { case: 'leaving', value: {} });
    for (const index of [0, 1]) job.say(index, { case: 'halted', value: { epoch: 0, step: 3 } });
    for (const index of [0, 1]) job.end(index, 0, { exitCode: 90 });
    expect(job.told(1).at(-1)).toBe('end 90');
    job.pass(5_500);
    expect(job.told(0)).toEqual(['halt 0', 'stop 0 after 3', 'start 1']);
  });
});
