// Processes that a bench starts end with it, also when it is interrupted.
import type { ChildProcess } from 'node:child_process';

const children = new Set<ChildProcess>();

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
// Handlers of exit run, which a signal by itself does not see to.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code));

/** Gives the child back. */
export function endWithBench<C extends ChildProcess>(child: C): C {
  children.add(child);
  child.once('close', () => children.delete(child));
  return child;
}
