// Ends a computation that takes too long, by the time that it had the processor.
import { Script, createContext } from 'node:vm';
import type { Context } from 'node:vm';

const caller = new Script('call()');
const called: { call?: () => string } = {};
/** Made once: a context takes longer than most computations. What is called runs outside of it and leaves nothing in it. */
let context: Context | undefined;
/** Where the processor is with others nearly always, a call gets no more tries than this. */
const maxTries = 8;

/**
 * Calls a function without side effects, and ends it after `limitMs`: the engine can interrupt what a script called. The clock alone does
 * not decide: a call that had the processor for less than half of that is made again. Throws what the function throws, or
 * ERR_SCRIPT_EXECUTION_TIMEOUT.
 */
export function withinTime(limitMs: number, call: () => string): string {
  context ??= createContext(called);
  called.call = call;
  try {
    for (let tries = 1; ; tries += 1) {
      const before = process.threadCpuUsage();
      try {
        return String(caller.runInContext(context, { timeout: limitMs }));
      } catch (error) {
        const { user, system } = process.threadCpuUsage(before);
        const hadProcessor = (user + system) / 1000 >= limitMs / 2;
        if (!isTimeout(error) || hadProcessor || tries === maxTries) throw error;
      }
    }
  } finally {
    delete called.call;
  }
}

/** The error comes from the other context, whose classes are not ours. */
function isTimeout(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}
