// Writes the TypeScript of the .proto files.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const bin = join(root, 'node_modules/.bin');

export function generateProto(): { path: string; text: string }[] {
  const out = mkdtempSync(join(tmpdir(), 'wl-proto-'));
  try {
    const plugin = { local: join(bin, 'protoc-gen-es'), out, opt: ['target=ts', 'import_extension=ts'] };
    execFileSync(
      join(bin, 'buf'),
      ['generate', 'runtime/api', '--template', JSON.stringify({ version: 'v2', plugins: [plugin] })],
      {
        cwd: root,
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    );
    return [{ path: 'runtime/api/rendezvous.gen.ts', text: readFileSync(join(out, 'rendezvous_pb.ts'), 'utf8') }];
  } finally {
    rmSync(out, { recursive: true });
  }
}
