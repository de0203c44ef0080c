import { expect, it } from 'vitest';
import { AddressPool } from './addresses.ts';

it('gives each owner its own address, the same one again, and reuses what was released', () => {
  const pool = new AddressPool('pod', '/state');
  const [a, b] = [pool.claim('a'), pool.claim('b')];
  expect(a).toMatch(/^127\.\d+\.\d+\.1$/);
  expect(b).toBe(a.replace(/1$/, '2'));
  expect(pool.claim('a')).toBe(a);
  pool.release('a');
  expect(pool.claim('c')).toBe(a);
});

it('keeps an address of an earlier life unless somebody has it or it is of another pool', () => {
  const pool = new AddressPool('service', '/state');
  const earlier = new AddressPool('service', '/state').claim('x').replace(/\.\d+\.1$/, '.3.7');
  expect(pool.claim('a', earlier)).toBe(earlier);
  expect(pool.claim('b', earlier)).not.toBe(earlier);
  expect(pool.claim('c', '127.0.0.9')).not.toBe('127.0.0.9');
});

it('never hands out the last octets 0 and 255', () => {
  const pool = new AddressPool('pod', '/state');
  const addresses = Array.from({ length: 600 }, (_, index) => pool.claim(String(index)));
  expect(new Set(addresses).size).toBe(600);
  expect(addresses.filter((address) => /\.(0|255)$/.test(address))).toEqual([]);
});

it('gives another address for one that is taken, and never the taken one again', () => {
  const pool = new AddressPool('service', '/state');
  const taken = pool.claim('a');
  expect(pool.replace('a')).not.toBe(taken);
  pool.release('a');
  expect(pool.claim('b')).not.toBe(taken);
});

it('goes on from the beginning of the range where its end is reached', () => {
  const last = Array.from({ length: 10_000 }, (_, index) => new AddressPool('pod', `/${index}`)).find((pool) => {
    const begin = pool.claim('0');
    return begin.endsWith('.255.1');
  });
  const addresses = Array.from({ length: 254 }, (_, index) =>
    last
      ?.claim(String(index + 1))
      .split('.')
      .slice(2)
      .join('.'),
  );
  expect(addresses.slice(-2)).toEqual(['255.254', '0.1']);
});

it('hands out the lowest free address, whatever was claimed and released before, until none is left', () => {
  const pool = new AddressPool('pod', '/state');
  const all = Array.from({ length: 65_024 }, (_, index) => pool.claim(String(index)));
  expect(new Set(all).size).toBe(65_024);
  expect(() => pool.claim('one more')).toThrow(/in use/);
  for (const index of [40_000, 7, 65_023, 300]) pool.release(String(index));
  const again = Array.from({ length: 4 }, (_, index) => pool.claim(`again ${index}`));
  expect(again).toEqual([7, 300, 40_000, 65_023].map((index) => all[index]));
});

it('keeps a thousand instances apart', () => {
  const begins = new Set(Array.from({ length: 1000 }, (_, index) => new AddressPool('pod', `/state/${index}`).claim('x')));
  // As many as places drawn by chance leave apart: 1000 of 25,600, about 19 of which meet another.
  expect(begins.size).toBeGreaterThan(960);
});
