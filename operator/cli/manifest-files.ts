// The manifests named on a command line: read, checked, with relative paths made absolute.
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, resolve } from 'node:path';
import { formatManifestFault, readManifests } from '#operator/kube/manifest.ts';
import type { Manifest } from '#operator/kube/manifest.ts';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { ownScheduleFault } from '#runtime/api/schedule/own-schedule.ts';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';

/** Fields that name a file or folder; what is relative counts from the manifest. */
const pathFields = [
  ['spec', 'data', 'uri'],
  ['spec', 'data', 'tokenizer', 'uri'],
  ['spec', 'model', 'from'],
  ['spec', 'model', 'uri'],
];

/** Reads all documents of all files. Throws WL_MANIFEST_INVALID with every fault, one per line, or WL_MANIFEST_UNREADABLE. */
export async function readManifestFiles(files: readonly string[]): Promise<Manifest[]> {
  const faults: string[] = [];
  const manifests: Manifest[] = [];
  for (const file of files) {
    const found = readManifests(await readManifestText(file), file);
    faults.push(...found.faults.map(formatManifestFault));
    for (const manifest of found.objects) {
      for (const field of pathFields) makeAbsolute(manifest.object, field, dirname(resolve(file)));
      faults.push(...scheduleFaults(manifest));
      manifests.push(manifest);
    }
  }
  if (faults.length > 0) throw new WindlassError('WL_MANIFEST_INVALID', faults.join('\n'));
  if (manifests.length === 0) throw new WindlassError('WL_MANIFEST_UNREADABLE', `${files.join(', ')}: no object in it`);
  return manifests;
}

/** No schema can say whether a schedule runs. */
function scheduleFaults({ resource, object, file, line }: Manifest): string[] {
  if (resource.kind !== TrainingJob.kind) return [];
  const fault = ownScheduleFault(object.spec as TrainingJobSpec);
  return fault === undefined ? [] : [`${file}:${line}: ${fault}`];
}

async function readManifestText(file: string): Promise<string> {
  try {
    return file === '-' ? await readStandardInput() : await readFile(file, 'utf8');
  } catch (error) {
    const fault = toWindlassError(error);
    throw new WindlassError(
      fault.code === 'WL_FILE_MISSING' ? 'WL_FILE_MISSING' : 'WL_MANIFEST_UNREADABLE',
      `${file}: ${fault.message}`,
      { cause: error },
    );
  }
}

async function readStandardInput(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += String(chunk);
  return text;
}

function makeAbsolute(object: object, field: readonly string[], baseDir: string): void {
  let holder: Record<string, unknown> | undefined = object as Record<string, unknown>;
  for (const name of field.slice(0, -1)) {
    const next: unknown = holder?.[name];
    holder = typeof next === 'object' && next !== null ? (next as Record<string, unknown>) : undefined;
  }
  const name = field.at(-1) ?? '';
  const value = holder?.[name];
  if (holder && typeof value === 'string' && !value.includes('://') && !isAbsolute(value)) holder[name] = resolve(baseDir, value);
}
