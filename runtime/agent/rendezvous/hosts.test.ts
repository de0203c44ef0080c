import { expect, it } from 'vitest';
import { findHost } from './hosts.ts';

it.each([
  ['127.16.0.2 moby-worker-0.moby\n', '127.16.0.2'],
  ['# pods\n\n127.16.0.1\tother\n127.16.0.2\tmoby-worker-0 moby-worker-0.moby # here\n', '127.16.0.2'],
  ['fd00::7 moby-worker-0.moby', 'fd00::7'],
  ['127.16.0.2 moby-worker-0.moby.svc', undefined],
  ['not-an-address moby-worker-0.moby', undefined],
  ['', undefined],
])('finds a name in %j: %s', (text, address) => {
  expect(findHost(text, 'moby-worker-0.moby')).toBe(address);
});
