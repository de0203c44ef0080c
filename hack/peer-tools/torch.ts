// PyTorch and transformers in a virtual environment, and jemalloc, with which PyTorch is faster.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { folderOf, peersFolder } from './folders.ts';
import { step } from './steps.ts';
import type { Say } from './steps.ts';

const packages = { torch: '2.15.0', transformers: '5.24.0', safetensors: '0.8.0', numpy: '2.4.6' } as const;

const folder = folderOf('torch', packages.torch);
const python = join(folder, 'bin/python');
const jemalloc = join(peersFolder(), 'jemalloc/libjemalloc.so.2');

/** The python to run PyTorch by. Throws how to get it where it is not there. */
export function torchPython(): string {
  if (!existsSync(python)) throw new Error('PyTorch is not set up here: run hack/peers torch');
  return python;
}

/** The library to preload, where there is one. */
export function jemallocLibrary(): string | undefined {
  return existsSync(jemalloc) ? jemalloc : undefined;
}

export interface TorchOptions {
  /** Of wheels for the CPU alone. PyPI's bring CUDA's libraries along, which take 3 GB. */
  readonly index?: string | undefined;
}

/** Goes on where an earlier call was cut off. A link to an environment that has the packages is taken as it is. */
export async function installTorch({ index }: TorchOptions, say: Say): Promise<void> {
  const log = (what: string) => join(peersFolder(), 'torch', `${what}.log`);
  if (missingPackages().length > 0) {
    if (!existsSync(python)) {
      say(`making a virtual environment in ${folder}`);
      await step('python3', ['-m', 'venv', folder], { log: log('venv') });
    }
    const missing = missingPackages();
    say(`installing ${missing.join(', ')}; without --index this fetches 3 GB`);
    // Of equal versions pip takes the one with a suffix, which PyPI does not have.
    const from = index === undefined ? [] : ['--extra-index-url', index];
    const onLine = (line: string) => void (/^(Downloading|Installing)/.test(line) && say(line.slice(0, 100)));
    await step(python, ['-m', 'pip', 'install', ...from, ...missing], { log: log('pip'), onLine });
  }
  await step(python, ['-c', 'import torch, transformers, safetensors; torch.ones(2, 2) @ torch.ones(2, 2)'], {
    log: log('check'),
  });
  say(`PyTorch ${packages.torch} is in ${folder}`);
  if (existsSync(jemalloc)) say(`jemalloc is in ${jemalloc}`);
  else await installJemalloc(log('jemalloc'), say);
}

/** Requirements that the environment does not meet, as pip takes them. */
function missingPackages(): string[] {
  const wanted = Object.entries(packages);
  const all = wanted.map(([name, version]) => `${name}==${version}`);
  if (!existsSync(python)) return all;
  const program = `import importlib.metadata as m\nfor n in ${JSON.stringify(Object.keys(packages))}:\n try: print(m.version(n))\n except m.PackageNotFoundError: print()`;
  const found = spawnSync(python, ['-c', program], { encoding: 'utf8' }).stdout.split('\n');
  return wanted.flatMap(([, version], at) => (found[at]?.split('+')[0] === version ? [] : [all[at]!]));
}

/** Debian's, unpacked beside: that needs no root. Where there is none, PyTorch is measured without. */
async function installJemalloc(log: string, say: Say): Promise<void> {
  mkdirSync(join(peersFolder(), 'jemalloc'), { recursive: true });
  const temporary = mkdtempSync(join(peersFolder(), '.fetching-'));
  try {
    await step('apt-get', ['download', 'libjemalloc2'], { log, cwd: temporary });
    const [archive = ''] = globSync('*.deb', { cwd: temporary });
    await step('dpkg-deb', ['-x', archive, 'files'], { log, cwd: temporary });
    const [library = ''] = globSync('files/usr/lib/**/libjemalloc.so.2', { cwd: temporary });
    copyFileSync(join(temporary, library), jemalloc);
    say(`jemalloc is in ${jemalloc}`);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    say(`jemalloc could not be fetched, so PyTorch's best setting will not be measured: ${words}`);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
