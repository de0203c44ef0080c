// Which process is meant by a number that was written down: numbers are used again, start times are not.
import { readFile } from 'node:fs/promises';

export interface ProcessIdentity {
  readonly pid: number;
  /** Start of the process in clock ticks since the machine's. */
  readonly startTicks: string;
}

/** Identity of a process that runs; undefined if there is none of that number, or only its zombie. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // proc(5): after the name in parentheses come field 3, the state, and so on; field 22 is the start time.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const startTicks = fields[18];
  return state === 'Z' || startTicks === undefined ? undefined : { pid, startTicks };
}

export async function isRunning({ pid, startTicks }: ProcessIdentity): Promise<boolean> {
  return (await identify(pid))?.startTicks === startTicks;
}
