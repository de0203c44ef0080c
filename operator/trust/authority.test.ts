// The life of authorities by a clock of our own: what each member of an installation holds at any time, all others trust.
import { X509Certificate } from 'node:crypto';
import { expect, it } from 'vitest';
import { bundleOf, dueStep, renewalOf, takeStep } from './authority.ts';
import type { AuthorityRules, AuthorityState } from './authority.ts';
import { issue, newKey, validityOf } from './x509.ts';

const hour = 3_600_000;
const rules: AuthorityRules = { authorityMs: 240 * hour, certificateMs: 24 * hour };
const start = Date.UTC(2026, 0, 1);

const parsed = new Map<string, X509Certificate>();

/** Each is read once: there are thousands of questions about few of them. */
function read(pem: string): X509Certificate {
  const known = parsed.get(pem) ?? new X509Certificate(pem);
  parsed.set(pem, known);
  return known;
}

const certificates = (bundle: string): X509Certificate[] => bundle.split(/(?<=-----END CERTIFICATE-----\n)/).map(read);

/** Whether `leaf` is signed by one of the bundle that is valid at `now`, through `cross` if that helps. */
function isTrusted(leaf: string, bundle: string, now: number, cross?: string): boolean {
  const valid = (certificate: X509Certificate) =>
    certificate.validFromDate.getTime() <= now && now < certificate.validToDate.getTime();
  const roots = certificates(bundle).filter(valid);
  const chained =
    cross === undefined ? [] : certificates(cross).filter((middle) => roots.some((root) => middle.verify(root.publicKey)));
  const checked = read(leaf);
  return valid(checked) && [...roots, ...chained].some((authority) => checked.verify(authority.publicKey));
}

async function leafOf(state: AuthorityState, now: number): Promise<string> {
  const { publicKey } = await newKey();
  const names = { commonName: 'moby-worker-0', dnsNames: ['moby'], uris: [], usages: ['server', 'client'] as const };
  return await issue({ ...names, publicKey, from: now, until: now + rules.certificateMs }, state.current);
}

/** All that happens in `hours`, looked at each hour. */
async function live(hours: number, see: (state: AuthorityState, now: number, steps: string[]) => void | Promise<void>) {
  let state: AuthorityState | undefined;
  const steps: string[] = [];
  for (let now = start; now <= start + hours * hour; now += hour) {
    for (let step = dueStep(state, now, rules); step; step = dueStep(state, now, rules)) {
      state = await takeStep(step, state, now, rules);
      steps.push(`${(now - start) / hour} h: ${step}`);
    }
    await see(state!, now, steps);
  }
  return steps;
}

it('makes an authority, announces the next at half of its life, lets it sign two certificate lives later, and forgets the old one', async () => {
  expect(await live(400, () => {})).toMatchInlineSnapshot(`
    [
      "0 h: make",
      "120 h: announce",
      "168 h: promote",
      "193 h: retire",
      "240 h: announce",
      "288 h: promote",
      "313 h: retire",
      "360 h: announce",
    ]
  `);
});

it('whoever renews at two thirds is trusted by all others at any time, whatever each of them heard last', async () => {
  interface Member {
    leaf: string;
    bundle: string;
  }
  const members: (Member | undefined)[] = Array.from({ length: 4 }, () => undefined);
  await live(300, async (state, now) => {
    for (const [index, member] of members.entries()) {
      if (member ? now < renewalOf(member.leaf) : now < start + index * 5 * hour) continue;
      members[index] = { leaf: await leafOf(state, now), bundle: bundleOf(state) };
    }
    const there = members.filter((member) => member !== undefined);
    for (const { leaf } of there) for (const { bundle } of there) expect(isTrusted(leaf, bundle, now)).toBe(true);
  });
});

it('a pod that was made under the old authority and starts long after the change still trusts the new one', async () => {
  let atStart: string | undefined;
  let checked = 0;
  await live(239, async (state, now) => {
    atStart ??= bundleOf(state);
    if (!state.cross) return;
    const leaf = await leafOf(state, now);
    expect(isTrusted(leaf, atStart, now)).toBe(false);
    expect(isTrusted(leaf, atStart, now, state.cross)).toBe(true);
    checked += 1;
  });
  expect(checked).toBeGreaterThan(20);
});

it('keeps no key of an authority that does not sign any more, and never two authorities that it vouches for in vain', async () => {
  await live(300, (state) => {
    expect(JSON.stringify(state).match(/PRIVATE KEY-----\\n/g)?.length).toBe(state.next ? 4 : 2);
    expect(state.previous === undefined || state.next === undefined).toBe(true);
  });
});

it('an operator that was away makes up for it: late for the change it hurries, after the end it begins anew', async () => {
  const made = await takeStep('make', undefined, start, rules);
  const late = start + 230 * hour;
  expect(dueStep(made, late, rules)).toBe('announce');
  const announced = await takeStep('announce', made, late, rules);
  expect(dueStep(announced, late, rules)).toBe('promote');
  expect(dueStep(made, start + 241 * hour, rules)).toBe('make');
  expect((await takeStep('make', made, start + 241 * hour, rules)).previous).toBeUndefined();
});

it('what an authority signs does not outlive it', async () => {
  const state = await takeStep('make', undefined, start, rules);
  const leaf = await leafOf(state, start + 235 * hour);
  expect(validityOf(leaf).until).toBe(validityOf(state.current.certificate).until);
});
