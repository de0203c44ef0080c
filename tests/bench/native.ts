// Builds and runs the native bench programs, kernels/bench/NAME.cpp.
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';

const folder = resolve(import.meta.dirname, '../../build/native');

/** Output goes straight to the terminal; resolves with the exit code. */
export async function runNativeBench(name: string): Promise<number> {
  const built = await run('ninja', ['-C', folder, '--quiet', `bench-${name}`]);
  return built === 0 ? await run(join(folder, `bench-${name}`), []) : built;
}

function run(command: string, args: readonly string[]): Promise<number> {
  return new Promise((done, reject) => {
    const child = spawn(command, args, { stdio: 'inherit' });
    child.once('error', reject);
    child.once('close', (code) => done(code ?? 1));
  });
}
