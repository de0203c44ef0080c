// A scripted failure of a job: what happens, what the STATE column shows meanwhile, and what the job says in the end.
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import { ends } from '../failure-stage.ts';
import type { End, Stage } from '../failure-stage.ts';

export interface Case {
  readonly name: string;
  /** Laid over the example job of one rank. */
  readonly spec?: object;
  /** Of the namespace. */
  readonly labels?: Record<string, string>;
  /** Before the job is made. */
  readonly before?: (stage: Stage) => Promise<unknown>;
  /** After it is made. */
  readonly script?: (stage: Stage) => Promise<unknown>;
  /** Values of the STATE column, one after the other. */
  readonly trail: readonly string[];
  /** Conditions in the end: type to `status reason`. */
  readonly ends: Readonly<Record<string, string>>;
  /** What the message of Ready says: the cause, and the remedy. */
  readonly says: RegExp;
  readonly failure?: Partial<PodFailure>;
  /** Of the status in the end. */
  readonly status?: object;
  /** Checks what else must hold. */
  readonly also?: (stage: Stage) => Promise<[found: unknown, wanted: unknown]>;
}

export const goesOn = { Ready: 'True Running' };
export const failed = (reason: string) => ({ Ready: `False ${reason}`, Failed: `True ${reason}`, Stalled: `True ${reason}` });
export const waits = (reason: string) => ({ Ready: `False ${reason}`, Reconciling: `True ${reason}` });
export const stalls = (reason: string) => ({ Ready: `False ${reason}`, Stalled: `True ${reason}` });
export const started = ['Starting', 'Running'];
export const restarted = [...started, 'Restarting', 'Running'];
export const gaveUp = [...started, 'Failed'];

export const rules = (...given: object[]) => ({ faults: { maxRestarts: 3, rules: given } });
export const words = (code: string, message: string, remedy: string) => ({
  code,
  message,
  remedy,
  logTail: `step 17\n${message}`,
});

/** Lets the pods come up, then ends one of them. */
export const dies = (rank: number, how: End) => async (stage: Stage) => {
  await stage.running();
  stage.fate(ends(rank, how));
};

export const mustSay = (said: string, pattern: RegExp) => {
  if (!pattern.test(said)) throw new Error(`${pattern.source} is not in: ${said}`);
};
