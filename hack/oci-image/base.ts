// The parts of an image that are not ours: Node with the libraries that it loads, certificates, and the files that C libraries look for.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Entry } from './tar.ts';

/** The user that everything runs as; any other will do as well. */
export const uid = 65_532;

const certificates = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt'];

/** Node at /usr/bin/node, without a shell or a package manager beside it. */
export function baseLayer(node: string): Entry[] {
  const bundle = certificates.find((path) => existsSync(path));
  if (!bundle) throw new Error('no certificates of authorities on this machine; install the package ca-certificates');
  const text = (path: string, content: string): Entry => ({ path, type: 'file', data: Buffer.from(content) });
  return [
    { path: 'usr/bin/node', type: 'file', data: stripped(node), executable: true },
    ...librariesOf(node),
    { path: 'etc/ssl/certs/ca-certificates.crt', type: 'file', data: readFileSync(bundle) },
    text('etc/passwd', `root:x:0:0:root:/:/sbin/nologin\nwindlass:x:${uid}:${uid}:windlass:/tmp:/sbin/nologin\n`),
    text('etc/group', `root:x:0:\nwindlass:x:${uid}:\n`),
    text('etc/nsswitch.conf', 'hosts: files dns\n'),
    { path: 'tmp', type: 'directory', mode: 0o1777 },
  ];
}

/** Shared libraries under the names by which the program asks for them, and the loader. */
function librariesOf(program: string): Entry[] {
  const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
  const libraries = [...listed.matchAll(/^\s*(?:(\S+) => )?(\/\S+) \(/gm)].map((match) => match[2] ?? '');
  // Resolving of names is loaded later, by name.
  const folder = libraries.find((path) => path.includes('libc.so'))?.replace(/\/[^/]*$/, '') ?? '';
  const late = ['libnss_dns.so.2', 'libnss_files.so.2', 'libresolv.so.2'].map((name) => join(folder, name));
  return [...libraries, ...late.filter((path) => existsSync(path))].map((path) => ({
    path: path.slice(1),
    type: 'file',
    data: readFileSync(realpathSync(path)),
    executable: true,
  }));
}

/** Without its symbols: a quarter less to download. */
function stripped(program: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'windlass-image-'));
  try {
    const output = join(folder, 'program');
    execFileSync('strip', ['--strip-all', '-o', output, realpathSync(program)]);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
