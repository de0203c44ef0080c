// Every scripted failure on a real API server ends in one named condition with its cause and remedy, and shows the right STATE all the way.
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addControllers } from '#operator/controllers/main.ts';
import { Manager } from '#operator/framework/manager.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import type { Transport } from '#operator/kube/transport.ts';
import { createInProcessBus } from '#runtime/api/bus.ts';
import type { Case } from './failure-cases/case.ts';
import { cases } from './failure-cases/main.ts';
import { patienceMs, Stage } from './failure-stage.ts';
import { connect, newNamespace } from './kube.ts';

const bus = createInProcessBus();
let manager: Manager;
let client: HttpKube;
let transport: Transport;

beforeAll(async () => {
  ({ client, transport } = await connect());
  await newNamespace(client);
  manager = new Manager({ client, log: pino({ level: 'silent' }) });
  addControllers(manager, { builtin: { image: 'windlass:test' }, progress: bus, workers: 16, removeAfterMs: 1_500 });
  await manager.start();
});

afterAll(async () => {
  await manager.stop();
  transport.close();
});

async function play({ spec = {}, labels, before, script, trail, ends, says, failure, status = {}, also }: Case): Promise<void> {
  await using stage = await Stage.open(client, transport, bus, labels);
  await before?.(stage);
  await stage.create(JSON.parse(JSON.stringify(spec).replaceAll('RUNTIME', stage.namespace)) as object);
  await script?.(stage);
  await stage.wait(() => {
    const { status: seen } = stage;
    const conditions = Object.fromEntries(
      (seen.conditions ?? []).map(({ type, status, reason }) => [type, `${status} ${reason}`]),
    );
    // A job whose first pods run, or end, within a second of being made is not shown as starting.
    const short = trail.toSpliced(trail.indexOf('Starting'), 1);
    const isShort = short.length > 0 && trail.includes('Starting') && JSON.stringify(stage.trail) === JSON.stringify(short);
    const shown = isShort ? trail : stage.trail;
    expect({ conditions, trail: shown, seen }).toEqual({ conditions: ends, trail, seen: expect.objectContaining(status) });
    expect(seen.conditions?.find(({ type }) => type === 'Ready')?.message).toMatch(says);
    if (failure) expect(seen.lastFailure).toMatchObject(failure);
    else expect(seen.lastFailure).toBeUndefined();
  });
  if (!also) return;
  const [found, wanted] = await also(stage);
  expect(found).toEqual(wanted);
}

describe.concurrent('of scripted failures,', () => {
  it.each(cases)('$name', play, patienceMs + 60_000);
});

it('there are at least 25, each with a name of its own', () => {
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  expect(cases.length).toBeGreaterThanOrEqual(25);
});
