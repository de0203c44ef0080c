import { expect, it } from 'vitest';
import { AddressPool } from './addresses.ts';

it('gives each owner its own address, the same one again, and reuses what was released', () => {
  const pool = new AddressPool('pod');
  expect([pool.claim('a'), pool.claim('b'), pool.claim('a')]).toEqual(['127.70.0.1', '127.70.0.2', '127.70.0.1']);
  pool.release('a');
  expect(pool.claim('c')).toBe('127.70.0.1');
});

it('keeps an address of an earlier life unless somebody has it or it is of another pool', () => {
  const pool = new AddressPool('service');
  expect(pool.claim('a', '127.80.3.7')).toBe('127.80.3.7');
  expect(pool.claim('b', '127.80.3.7')).toBe('127.80.0.1');
  expect(pool.claim('c', '127.70.0.9')).toBe('127.80.0.2');
});

it('never hands out the last octets 0 and 255', () => {
  const pool = new AddressPool('pod');
  const addresses = Array.from({ length: 600 }, (_, index) => pool.claim(String(index)));
  expect(new Set(addresses).size).toBe(600);
  expect(addresses.filter((address) => /\.(0|255)$/.test(address))).toEqual([]);
});
