// Runs a command to its end and gives back what it printed.
import { spawn } from 'node:child_process';

interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
}

/** Standard output of a command. Throws with the end of its standard error when it fails. */
export async function capture(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { cwd, env, input } = options;
  const child = spawn(command, args, { ...(cwd ? { cwd } : {}), ...(env ? { env } : {}), stdio: ['pipe', 'pipe', 'pipe'] });
  // A command that ends without reading its input is judged by its exit code.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input ?? '');
  let [output, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const end = await new Promise<number | NodeJS.Signals | null>((done, reject) => {
    child.once('error', (cause) => reject(new Error(`${command} could not be started`, { cause })));
    child.once('close', (code, signal) => done(code ?? signal));
  });
  if (end === 0) return output;
  throw new Error(`${command} ${args.slice(0, 3).join(' ')} ended with ${end}: ${(errors || output).trim().slice(-2000)}`);
}
