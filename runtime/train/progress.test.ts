import { expect, it } from 'vitest';
import type { Progress } from '#runtime/api/messages.ts';
import { ProgressReporter } from './progress.ts';

function reporter(steps = 100, started?: string) {
  const sent: Progress[] = [];
  const clock = { ms: 0 };
  const progress = new ProgressReporter({
    steps,
    tokensPerStep: 1000,
    ...(started === undefined ? {} : { started }),
    send: (report) => sent.push(report),
    now: () => clock.ms,
  });
  return { progress, sent, clock };
}

it('measures speed over the newest ten seconds, so that a slow start is forgotten', () => {
  const { progress, clock } = reporter(1000);
  clock.ms = 60_000;
  progress.stepped(1, {});
  for (let step = 2; step <= 30; step += 1) {
    clock.ms += 500;
    progress.stepped(step, {});
  }
  expect(progress.current.tokensPerSecond).toBe(2000);
  expect(progress.current.etaSeconds).toBe(485);
});

it('does not count pauses for evaluation and a checkpoint as slow steps', () => {
  const { progress, clock } = reporter();
  for (const step of [1, 2]) {
    clock.ms += 1000;
    progress.stepped(step, {});
  }
  for (const pause of [50_000, 20_000]) {
    clock.ms += pause;
    progress.resumeClock('evaluating');
  }
  clock.ms += 1000;
  progress.stepped(3, {});
  expect(progress.current.tokensPerSecond).toBe(1000);
});

it('measures short steps as well as long ones', () => {
  const { progress, clock } = reporter(10_000);
  for (let step = 1; step <= 2000; step += 1) {
    clock.ms += 4;
    progress.stepped(step, {});
  }
  expect(progress.current.tokensPerSecond).toBe(250_000);
});

it('sends at most four reports of steps a second and keeps the newest values for the next', () => {
  const { progress, sent, clock } = reporter();
  for (let step = 1; step <= 40; step += 1) {
    clock.ms += 25;
    progress.stepped(step, { loss: step });
  }
  expect(sent.length).toBeLessThanOrEqual(5);
  progress.flush();
  expect(sent.at(-1)).toMatchObject({ step: 40, loss: 40 });
});

it('says what goes on as long as it does, also when it fails', async () => {
  const { progress } = reporter();
  const failing = progress.during('saving', async () => {
    expect(progress.current.phase).toBe('saving');
    throw new Error('no room');
  });
  await expect(failing).rejects.toThrow('no room');
  expect(progress.current.phase).toBeUndefined();
});

it('forgets the phase once steps go on', () => {
  const { progress } = reporter();
  progress.tell({ phase: 'tokenizing', phaseShare: 0.5 });
  progress.stepped(1, {});
  expect(progress.current).toEqual({ step: 1, steps: 100 });
});

it('tells what all of its time went to', () => {
  const { progress, sent, clock } = reporter(100, 'noon');
  const pass = (ms: number, act: () => void) => {
    clock.ms += ms;
    act();
  };
  pass(3_000, () => progress.tell({ phase: 'tokenizing' }));
  expect(sent.at(-1)?.clock).toEqual({ started: 'noon', preparing: 3, stepping: 0, evaluating: 0, checkpointing: 0, steps: 0 });
  pass(1_000, () => progress.startFrom(40));
  pass(2_000, () => progress.stepped(41, {}));
  pass(500, () => progress.resumeClock('checkpointing'));
  pass(2_500, () => progress.stepped(42, {}));
  pass(4_000, () => progress.resumeClock('evaluating'));
  progress.flush();
  expect(sent.at(-1)?.clock).toEqual({
    started: 'noon',
    preparing: 4,
    stepping: 4.5,
    evaluating: 4,
    checkpointing: 0.5,
    steps: 2,
  });
});
