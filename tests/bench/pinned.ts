// Processes that stay on their cores: ranks of a bench that would otherwise wander.
import { spawnSync } from 'node:child_process';

let canPin: boolean | undefined;

/** Whether this machine has `taskset`; without it, processes run where the kernel puts them. */
export function pins(): boolean {
  canPin ??= spawnSync('taskset', ['--version'], { stdio: 'ignore' }).status === 0;
  return canPin;
}

/** `command` kept to these cores, as what to spawn. */
export function onCores(cores: readonly number[], command: string, args: readonly string[]): [command: string, args: string[]] {
  return pins() ? ['taskset', ['-c', cores.join(), command, ...args]] : [command, [...args]];
}
