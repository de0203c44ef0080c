// Addresses that no request may go to: there a cloud hands the credentials of its machines to whoever asks.
import { lookup } from 'node:dns';
import type { LookupAddress } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import type { LookupFunction } from 'node:net';

const forbidden = new BlockList();
forbidden.addSubnet('169.254.0.0', 16, 'ipv4');
forbidden.addSubnet('fe80::', 10, 'ipv6');
forbidden.addAddress('fd00:ec2::254', 'ipv6');

export function isForbidden(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && forbidden.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** `dns.lookup` that does not know forbidden addresses, whatever name leads to them. */
export const guardedLookup: LookupFunction = (host, options, done) => {
  lookup(host, { ...options, all: true }, (error, found) => {
    if (error) return done(error, '', 0);
    const allowed: LookupAddress[] = found.filter(({ address }) => !isForbidden(address));
    const [first] = allowed;
    if (!first) return done(Object.assign(new Error(`${host} is a link-local address`), { code: 'ERR_FORBIDDEN' }), '', 0);
    if (options.all) done(null, allowed);
    else done(null, first.address, first.family);
  });
};
