// `windlass report`: one file about a job, a service or everything, to be attached to an issue.
import { writeFile } from 'node:fs/promises';
import { WindlassError } from '#runtime/api/errors.ts';
import { formatBytes } from '../format.ts';
import type { Target } from '../target/target.ts';
import { createCollected } from './collected.ts';
import { collectFromCluster } from './from-cluster.ts';
import { collectFromInstance } from './from-instance.ts';
import { packTarGz } from './tar.ts';

export interface ReportOptions {
  /** KIND/NAME, KIND NAME or NAME; everything in view if empty. */
  readonly words: readonly string[];
  /** File to write; a name with the time in the working folder if absent. */
  readonly to?: string | undefined;
  readonly version: string;
  readonly now: Date;
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Writes the file, for its owner's eyes only, and prints what is in it and what could not be read. Throws WL_FILE_EXISTS or WL_OBJECT_NOT_FOUND. */
export async function writeReport(target: Target, options: ReportOptions): Promise<void> {
  const { words, version, now, write, signal } = options;
  const collected = createCollected();
  const place = target.kind === 'cluster' ? { cluster: target.namespace ?? 'all namespaces' } : { instance: true };
  const versions = {
    windlass: version,
    node: process.version,
    system: `${process.platform} ${process.arch}`,
    time: now.toISOString(),
    ...place,
  };
  collected.addText('versions.json', `${JSON.stringify(versions, null, 2)}\n`);
  if (target.kind === 'cluster') await collectFromCluster(target, words, collected, signal);
  else await collectFromInstance(target, words, collected);
  signal.throwIfAborted();

  const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '');
  const what = words.length === 0 ? '' : `${words.join('-').replaceAll(/[^a-z0-9.-]/gi, '-')}-`;
  const folder = `windlass-report-${what}${stamp}`;
  const path = options.to ?? `${folder}.tar.gz`;
  const files = collected.files();
  const archive = packTarGz(
    files.map((file) => ({ ...file, path: `${folder}/${file.path}` })),
    now.getTime(),
  );
  await writeFile(path, archive, { flag: 'wx', mode: 0o600 }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EEXIST') throw new WindlassError('WL_FILE_EXISTS', `${path} is there already`, { cause });
    throw cause;
  });
  for (const file of files) write(`  ${file.path}  ${formatBytes(Buffer.byteLength(file.text))}\n`);
  for (const line of collected.missed) write(`not read: ${line}\n`);
  write(`wrote ${path} (${formatBytes(archive.length)}); secrets were taken out, but look through it before you give it away\n`);
}
