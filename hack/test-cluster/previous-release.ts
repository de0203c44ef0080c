// The release that users upgrade from: chart and image of an earlier commit, made by that commit's own tools. Kept beside the programs of the test
// cluster.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { windlassImage } from '../oci-image/image.ts';
import { build } from './build.ts';
import { capture } from './command.ts';
import { binaryOf, cacheFolder } from './components.ts';

export interface Release {
  /** A packaged chart. */
  readonly chart: string;
  /** An OCI layout in a tar archive, of the image that nodes know by `image`. */
  readonly archive: string;
  readonly image: string;
  /** What it was made of, for people. */
  readonly origin: string;
}

/** Moves on with each release. */
const commit = '133929f03673bb94418d041b4117b97aa7477886';
/** Releases are told apart by their number: labels of all objects change with it. */
const version = '0.0.9';
const image = 'windlass.dev/windlass:previous';
const root = resolve(import.meta.dirname, '../..');
const addon = 'build/native/windlass.node';

/**
 * Made at the first call on a machine, in less than a minute; in several where this checkout lacks packages or operations of that commit. Without the
 * history of this repository (a download, a shallow clone) the release is made of the present tree, into `folder`: then nothing differs but its number
 * and its image.
 */
export async function previousRelease(folder: string, say: (line: string) => void): Promise<Release> {
  await build(['helm'], say);
  const isKnown = await git('cat-file', '-e', `${commit}^{commit}`).then(
    () => true,
    () => false,
  );
  if (!isKnown) {
    const origin = `the present tree as ${version}, since the history of this checkout lacks commit ${commit.slice(0, 8)}`;
    say(`previous release: ${origin}`);
    return await madeOfThisTree(folder, origin);
  }
  const place = join(cacheFolder(), `release-${commit.slice(0, 12)}`);
  if (!existsSync(place)) await madeOfCommit(place, say);
  return { ...filesIn(place), origin: `commit ${commit.slice(0, 8)}` };
}

const filesIn = (folder: string) => ({
  chart: join(folder, `windlass-${version}.tgz`),
  archive: join(folder, 'image.tar'),
  image,
});

async function madeOfThisTree(folder: string, origin: string): Promise<Release> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(filesIn(folder).archive, windlassImage(image).archive);
  await packageChart(root, folder);
  return { ...filesIn(folder), origin };
}

/** Appears whole or not at all. */
async function madeOfCommit(place: string, say: (line: string) => void): Promise<void> {
  say(`previous release: making commit ${commit.slice(0, 8)}`);
  mkdirSync(dirname(place), { recursive: true });
  const folder = mkdtempSync(join(dirname(place), '.release-'));
  try {
    const [tree, made] = [join(folder, 'tree'), join(folder, 'made')];
    for (const one of [tree, made]) mkdirSync(one);
    const archive = join(folder, 'tree.tar');
    await git('archive', '--output', archive, commit);
    await capture('tar', ['-xf', archive, '-C', tree]);
    if (hasPackagesOf(tree) && (await hasOperationsOf(tree))) {
      symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
      mkdirSync(join(tree, dirname(addon)), { recursive: true });
      copyFileSync(join(root, addon), join(tree, addon));
    } else say('previous release: its packages and its addon are not those of this checkout; they are made anew');
    // Sets its checkout up if it has to, as for anybody.
    await capture(join(tree, 'hack/image'), ['--output', filesIn(made).archive, '--name', image], { cwd: tree });
    await packageChart(tree, made);
    rmSync(place, { recursive: true, force: true });
    renameSync(made, place);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** As a release gives a chart its number. */
async function packageChart(tree: string, folder: string): Promise<void> {
  const numbers = ['--version', version, '--app-version', version];
  await capture(binaryOf('helm'), ['package', join(tree, 'charts/windlass'), '--destination', folder, ...numbers]);
}

/** Whether the addon of this checkout has all operations of another's: how they are carried out makes no difference to an upgrade. */
async function hasOperationsOf(tree: string): Promise<boolean> {
  const [theirs, ours] = await Promise.all([tree, root].map(operationsOf));
  return Object.entries(theirs!).every(([name, operation]) => isDeepStrictEqual(operation, ours![name]));
}

async function operationsOf(tree: string): Promise<Record<string, object>> {
  const print = `import { ops } from '${join(tree, 'kernels/ops.ts')}'; console.log(JSON.stringify(ops));`;
  return JSON.parse(await capture(process.execPath, ['--input-type=module', '--eval', print])) as Record<string, object>;
}

/** Whether the packages of this checkout are, among others, those of another, in its versions. */
function hasPackagesOf(tree: string): boolean {
  const [theirs, ours] = [tree, root].map((folder) => {
    const text = readFileSync(join(folder, 'package-lock.json'), 'utf8');
    return (JSON.parse(text) as { packages: Record<string, { version?: string; optional?: boolean }> }).packages;
  });
  return Object.entries(theirs!).every(
    ([place, { version, optional }]) => place === '' || optional || ours![place]?.version === version,
  );
}

const git = (...args: string[]): Promise<string> => capture('git', args, { cwd: root });
