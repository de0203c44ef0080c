// Writes every generated file of the repository, or with --check verifies that the files on disk are what would be written.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { generateApiDocs } from './gen-api-docs.ts';
import { generateChart } from './gen-chart.ts';
import { generateCrds } from './gen-crds.ts';
import { generateErrorDocs } from './gen-errors.ts';
import { generateObserve } from './gen-observe.ts';
import { generateOps } from './gen-ops.ts';
import { generateProto } from './gen-proto.ts';
import { generateSchedules } from './gen-schedules.ts';

type GeneratedFile = { readonly path: string; readonly text: string };

/** Each generator returns its files; paths count from the root of the repository. Texts must be the same on every run. */
const generators: readonly (() => readonly GeneratedFile[])[] = [
  generateOps,
  generateCrds,
  generateErrorDocs,
  generateApiDocs,
  generateProto,
  generateSchedules,
  generateChart,
  generateObserve,
];

const root = resolve(import.meta.dirname, '..');
const check = process.argv.includes('--check');
const stale: string[] = [];
let count = 0;
for (const generate of generators) {
  for (const { path, text } of generate()) {
    count += 1;
    if (contentOf(join(root, path)) === text) continue;
    stale.push(path);
    if (check) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
for (const path of stale) console.log(check ? `${path}: not what the generator writes; run npm run gen` : `wrote ${path}`);
console.log(`gen: ${count} files, ${stale.length} ${check ? 'stale' : 'written'}`);
if (check && stale.length > 0) process.exitCode = 1;

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
