// Builds the programs of the test cluster from Go modules, once per version and machine.
import { spawn } from 'node:child_process';
import {
  createWriteStream,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { binaryOf, cacheFolder, components, linkerFlags, sourceOf, stagingVersion } from './components.ts';
import type { ComponentName } from './components.ts';
import { goCommand } from './go.ts';
import { capture } from './command.ts';

export const missing = (names: readonly ComponentName[]): ComponentName[] => names.filter((name) => !existsSync(binaryOf(name)));

/**
 * Builds what is not in the cache yet. Runs at the same time wait for each other, and then find what the other has built.
 * `say` gets one line per program.
 */
export async function build(names: readonly ComponentName[], say: (line: string) => void): Promise<void> {
  if (missing(names).length === 0) return;
  mkdirSync(cacheFolder(), { recursive: true });
  await using _lock = await lockCache(say);
  // Of builds that were killed: nobody else builds while the lock is held.
  for (const left of globSync('.building-*', { cwd: cacheFolder() }))
    rmSync(join(cacheFolder(), left), { recursive: true, force: true });
  const todo = missing(names);
  const go = await goCommand(say);
  for (const [index, name] of todo.entries()) {
    say(`building ${name} ${components[name].version} (${index + 1} of ${todo.length})`);
    const startMs = Date.now();
    await buildOne(name, go);
    say(`built ${name} in ${Math.round((Date.now() - startMs) / 1000)} s`);
  }
}

/** Binaries appear in the cache whole or not at all: a folder is renamed into place when its build has ended well. */
async function buildOne(name: ComponentName, go: string): Promise<void> {
  const component = components[name];
  const folder = mkdtempSync(join(cacheFolder(), '.building-'));
  try {
    const source = sourceOf(component);
    for (const file of source) writeFileSync(join(folder, file.name), file.text);
    if (source.length === 0) writeFileSync(join(folder, 'go.mod'), await goMod(component, go, folder));
    const output = join(folder, 'out', name);
    // What our own programs are made of is written down in their go.sum.
    const modules = source.length === 0 ? '-mod=mod' : '-mod=readonly';
    const tags = 'tags' in component ? ['-tags', component.tags] : [];
    const flags = [modules, ...tags, '-trimpath', '-ldflags', linkerFlags(component)];
    const args = ['build', ...flags, '-o', output, component.package];
    await runGo(go, args, folder);
    const place = dirname(binaryOf(name));
    rmSync(place, { recursive: true, force: true });
    renameSync(join(folder, 'out'), place);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A module that requires just this program: each one gets the dependencies of its own release. */
async function goMod(component: (typeof components)[ComponentName], go: string, folder: string): Promise<string> {
  const described = await capture(go, ['mod', 'download', '-json', `${component.module}@${component.version}`], {
    cwd: folder,
    env: goEnvironment(),
  });
  const { GoMod: path } = JSON.parse(described) as { GoMod: string };
  const theirs = readFileSync(path, 'utf8');
  const goLine = /^go .*$/m.exec(theirs)?.[0] ?? 'go 1.26';
  // Kubernetes takes its staging modules from its own tree; from outside they are modules with a version.
  const staging = [...theirs.matchAll(/(k8s\.io\/[a-z0-9-]+) => \.\/staging\//g)].map((match) => match[1] ?? '');
  const lines = [
    'module windlass.dev/test-cluster',
    goLine,
    `require ${component.module} ${component.version}`,
    ...staging.map((module) => `replace ${module} => ${module} v${stagingVersion}`),
  ];
  return `${lines.join('\n')}\n`;
}

const goEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env, CGO_ENABLED: '0', GOWORK: 'off' });

async function runGo(go: string, args: readonly string[], cwd: string): Promise<void> {
  const path = join(cwd, 'build.log');
  const log = createWriteStream(path);
  const child = spawn('nice', [go, ...args], { cwd, env: goEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
  const code = await new Promise<number | null>((done, reject) => {
    child.once('error', reject);
    child.once('close', done);
  });
  await new Promise<void>((done) => log.end(done));
  if (code === 0) return;
  const last = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-20).join('\n');
  throw new Error(
    `go ${args[0]} ended with ${code}:\n${last}\nIs the Go module proxy reachable (go env GOPROXY) and the disk not full?`,
  );
}

/** Held until disposed, or until this process ends in whatever way: the lock is one of the file system, on a child that lives as long as its input is open. */
async function lockCache(say: (line: string) => void): Promise<AsyncDisposable> {
  const file = join(cacheFolder(), '.lock');
  const holder = spawn('flock', [file, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const notice = setTimeout(() => say('another run builds at the moment; waiting for it'), 2000);
  const ended = new Promise<void>((done) => holder.once('close', () => done()));
  try {
    await new Promise<void>((done, reject) => {
      holder.once('error', (cause) => reject(new Error('flock is missing; install the package util-linux', { cause })));
      holder.once('close', (code) => reject(new Error(`flock ${file} ended with ${code}`)));
      holder.stdout.once('data', () => done());
    });
  } finally {
    clearTimeout(notice);
  }
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await ended;
    },
  };
}
