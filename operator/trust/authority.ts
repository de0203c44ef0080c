// The authority of an installation over time: when a new one is announced, when it takes over, when the old one is no longer trusted. A new
// authority is in every bundle before it signs anything, and an old one stays there until what it signed has expired.
import { z } from 'zod';
import { crossSign, newAuthority, validityOf } from './x509.ts';
import type { Validity } from './x509.ts';

const KeyPair = z.object({ certificate: z.string(), key: z.string() });

export const AuthorityState = z.object({
  /** Signs. */
  current: KeyPair,
  /** Since when it signs; ms since 1970. */
  since: z.number(),
  /** Trusted since it was announced, and the next to sign. Nobody has the key of an authority that does not sign any more. */
  next: KeyPair.extend({ announced: z.number() }).optional(),
  /** Certificate of the one before, while something that it signed may be valid. */
  previous: z.string().optional(),
  /** `current`, vouched for by the one before: for who knows no other yet. */
  cross: z.string().optional(),
});
export type AuthorityState = z.output<typeof AuthorityState>;

export interface AuthorityRules {
  /** How long an authority is valid. At half of it the next one is announced. */
  readonly authorityMs: number;
  /** How long what it signs is valid. */
  readonly certificateMs: number;
}

export type AuthorityStep = 'make' | 'announce' | 'promote' | 'retire';

/** Clocks of nodes may differ by this much. */
const skewMs = 300_000;

/** Something that is valid for so long from now on: it begins earlier, for clocks that are behind. */
export function validFrom(now: number, lifetimeMs: number): Validity {
  return { from: now - Math.min(skewMs, lifetimeMs / 4), until: now + lifetimeMs };
}

/** How long the next authority is trusted before it signs: whoever asks for a certificate hears of it meanwhile, twice. */
const overlapMs = ({ certificateMs }: AuthorityRules): number => 2 * certificateMs;

/** How often it is to be seen to that something is due: at most so many ms apart, less where certificates live so short that it would be late. */
export function lookEveryMs({ certificateMs }: AuthorityRules, mostMs: number): number {
  return Math.min(mostMs, certificateMs / 6);
}

/** What is due; undefined: nothing. */
export function dueStep(state: AuthorityState | undefined, now: number, rules: AuthorityRules): AuthorityStep | undefined {
  if (!state) return 'make';
  const { from, until } = validityOf(state.current.certificate);
  if (now >= until) return 'make';
  if (state.next) return now >= takeoverOf(state, rules) ? 'promote' : undefined;
  if (now >= from + (until - from) / 2) return 'announce';
  return state.previous !== undefined && now >= state.since + rules.certificateMs + skewMs ? 'retire' : undefined;
}

/** When another authority signs instead, ms since 1970: the one that is announced, or would be by then. */
export function takeoverOf({ current, next }: AuthorityState, rules: AuthorityRules): number {
  const { from, until } = validityOf(current.certificate);
  const announced = next?.announced ?? from + (until - from) / 2;
  return Math.min(announced + overlapMs(rules), until - rules.certificateMs);
}

/** The state after a step. */
export async function takeStep(
  step: AuthorityStep,
  state: AuthorityState | undefined,
  now: number,
  rules: AuthorityRules,
): Promise<AuthorityState> {
  const fresh = () => newAuthority(`windlass ${new Date(now).toISOString()}`, validFrom(now, rules.authorityMs));
  if (!state || step === 'make') return { current: await fresh(), since: now };
  if (step === 'announce') return { ...state, next: { ...(await fresh()), announced: now } };
  const { previous: _, ...kept } = state;
  const { next } = state;
  if (step === 'retire' || !next) return kept;
  return {
    current: { certificate: next.certificate, key: next.key },
    since: now,
    previous: state.current.certificate,
    cross: await crossSign(next.certificate, state.current),
  };
}

/** Whom to trust now, PEM. */
export function bundleOf({ current, next, previous }: AuthorityState): string {
  return [current.certificate, next?.certificate, previous].filter((certificate) => certificate !== undefined).join('');
}

/** When a certificate that is valid from now on is to be renewed: at two thirds of its life. */
export function renewalOf(certificate: string): number {
  const { from, until } = validityOf(certificate);
  return from + ((until - from) * 2) / 3;
}
