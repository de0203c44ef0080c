import { expect, it } from 'vitest';
import { renewalOf, takeStep } from './authority.ts';
import { serverIdentity } from './own-identity.ts';
import { newTrust } from './testing.ts';
import { validityOf } from './x509.ts';

const second = 1_000;

it('a certificate that its authority does not let live as long as wanted is not due as soon as it is made', async () => {
  const now = Date.UTC(2026, 0, 1);
  const authority = await takeStep('make', undefined, now, { authorityMs: 180 * second, certificateMs: 30 * second });
  const later = now + 90 * second;
  const { cert } = await serverIdentity(['bus'], { ...(await newTrust()), authority }, later, 900 * second);
  expect(validityOf(cert).until).toBe(now + 180 * second);
  expect(renewalOf(cert)).toBeGreaterThanOrEqual(later + 45 * second);
});
