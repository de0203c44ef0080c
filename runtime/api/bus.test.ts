import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createInProcessBus } from './bus.ts';
import { connectBusPublisher } from './bus-publisher.ts';
import { serveBus } from './bus-socket.ts';
import { progressSubject, subjectMatches } from './subjects.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function socketPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wl-bus-'));
  folders.push(folder);
  return join(folder, 'bus.sock');
}

const publisherTo = (address: string | undefined) =>
  connectBusPublisher({ address, certificates: undefined, name: 'a pod', log: () => {} });

describe('subjects', () => {
  it.each([
    ['wl.v1.*.*.progress', 'wl.v1.default.moby.progress', true],
    ['wl.v1.>', 'wl.v1.default.moby.progress', true],
    ['wl.v1.>', 'wl.v1', false],
    ['wl.v1.*.progress', 'wl.v1.default.moby.progress', false],
    ['wl.v1.default.moby', 'wl.v1.default.moby.progress', false],
  ])('%s against %s is %s', (pattern, subject, expected) => {
    expect(subjectMatches(pattern, subject)).toBe(expected);
  });
});

describe('bus', () => {
  it('delivers a message of another connection to the listeners whose pattern fits, and to no other', async () => {
    const bus = createInProcessBus();
    const path = await socketPath();
    const server = await serveBus(bus, path);
    const other: unknown[] = [];
    bus.subscribe(progressSubject('default', 'other'), (payload) => other.push(payload));
    const received = new Promise((resolve) => bus.subscribe('wl.v1.default.*.progress', resolve));
    const publisher = publisherTo(`unix:${path}`);
    publisher.publish(progressSubject('default', 'moby'), { step: 7 });
    expect(await received).toEqual({ step: 7 });
    expect(other).toEqual([]);
    await publisher.close(1000);
    server.close();
  });

  it('delivers what was published before the socket existed', async () => {
    const path = await socketPath();
    const publisher = publisherTo(`unix:${path}`);
    publisher.publish('wl.v1.a.b.progress', { step: 1 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    const bus = createInProcessBus();
    const received = new Promise((resolve) => bus.subscribe('wl.v1.>', resolve));
    const server = await serveBus(bus, path);
    expect(await received).toEqual({ step: 1 });
    await publisher.close(1000);
    server.close();
  });

  it('cuts a connection that sends anything but JSON lines and goes on serving the others', async () => {
    const bus = createInProcessBus();
    const path = await socketPath();
    const server = await serveBus(bus, path);
    const { connect } = await import('node:net');
    const bad = connect(path);
    bad.write('not json\n');
    await new Promise((resolve) => bad.on('close', resolve));
    const received = new Promise((resolve) => bus.subscribe('wl.v1.>', resolve));
    const publisher = publisherTo(`unix:${path}`);
    publisher.publish('wl.v1.a.b.progress', 1);
    expect(await received).toBe(1);
    await publisher.close(1000);
    server.close();
  });
});
