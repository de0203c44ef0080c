// Checks the walls of the house: which room may import which, and which packages are confined to one place (docs/architecture.md).
import { readFileSync } from 'node:fs';
import { globSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** Room -> rooms it may import besides itself. A room is the longest prefix listed here. */
const rooms: Record<string, readonly string[]> = {
  crds: [],
  kernels: [],
  'runtime/api': ['crds'],
  'runtime/remote': ['runtime/api'],
  'runtime/tensor': ['kernels', 'runtime/api'],
  'runtime/model': ['runtime/tensor', 'runtime/api'],
  'runtime/tokenizer': ['runtime/api'],
  'runtime/data': ['runtime/tensor', 'runtime/tokenizer', 'runtime/api'],
  'runtime/parallel': ['runtime/tensor', 'runtime/model', 'runtime/api'],
  'runtime/checkpoint': ['runtime/tensor', 'runtime/model', 'runtime/parallel', 'runtime/api'],
  'runtime/engine': ['runtime/tensor', 'runtime/model', 'runtime/tokenizer', 'runtime/parallel', 'runtime/api'],
  'runtime/train': [
    'crds',
    'kernels',
    'runtime/api',
    'runtime/tensor',
    'runtime/model',
    'runtime/tokenizer',
    'runtime/data',
    'runtime/parallel',
    'runtime/checkpoint',
    'runtime/engine',
    'runtime/remote',
  ],
  'runtime/serve': [
    'crds',
    'runtime/engine',
    'runtime/tokenizer',
    'runtime/api',
    'runtime/model',
    'runtime/remote',
    'runtime/tensor',
  ],
  'runtime/gateway': ['runtime/api'],
  'runtime/agent': ['runtime/api', 'crds'],
  'operator/kube': ['crds'],
  'operator/framework': ['operator/kube'],
  'operator/trust': ['operator/framework', 'operator/kube', 'operator/controllers', 'crds', 'runtime/api'],
  'operator/controllers': ['operator/framework', 'operator/kube', 'crds', 'runtime/api'],
  'operator/local': ['operator/framework', 'operator/kube', 'operator/controllers', 'crds', 'runtime/api'],
  'operator/cli': [
    'operator/framework',
    'operator/kube',
    'operator/controllers',
    'operator/trust',
    'operator/local',
    'crds',
    'runtime/api',
  ],
  bin: [
    'crds',
    'operator/cli',
    'runtime/agent',
    'runtime/train',
    'runtime/serve',
    'runtime/model',
    'runtime/parallel',
    'runtime/checkpoint',
    'runtime/api',
  ],
};

/** Packages that few rooms may import. */
const confined: Record<string, readonly string[]> = {
  '@kubernetes/client-node': ['operator/kube'],
  undici: ['operator/kube'],
  '@bufbuild/protobuf': ['runtime/api'],
  '@grpc/grpc-js': ['runtime/api', 'runtime/agent'],
  nats: ['runtime/api', 'operator/trust'],
  pkijs: ['operator/trust'],
  asn1js: ['operator/trust'],
};

const roomNames = Object.keys(rooms).sort((a, b) => b.length - a.length);
const roomOf = (path: string): string | undefined => roomNames.find((room) => path === room || path.startsWith(`${room}/`));
const importPattern =
  /(?:^|[\s;])(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|import\s*\(\s*['"]([^'"]+)['"]|^import\s+['"]([^'"]+)['"]/gm;

const faults: string[] = [];
const files = globSync('{bin,crds,kernels,operator,runtime}/**/*.ts', { cwd: root });
for (const file of files) {
  const room = roomOf(file);
  if (!room) {
    faults.push(`${file}: stands in no room of the house; the rooms are listed in hack/check-rooms.ts`);
    continue;
  }
  const isTest = file.endsWith('.test.ts');
  const text = readFileSync(join(root, file), 'utf8');
  for (const match of text.matchAll(importPattern)) {
    const target = match[1] ?? match[2] ?? match[3] ?? '';
    const confinedTo = confined[target];
    if (confinedTo && !confinedTo.includes(room)) faults.push(`${file}: only ${confinedTo.join(' and ')} may import ${target}`);
    if (room === 'crds' && !isTest && !target.startsWith('.') && target !== 'zod' && !target.startsWith('#')) {
      faults.push(`${file}: crds may import zod only, not ${target}`);
    }
    const path = target.startsWith('#')
      ? target.slice(1)
      : target.startsWith('.')
        ? relative(root, resolve(root, dirname(file), target))
        : undefined;
    if (path === undefined) continue;
    const other = roomOf(path);
    if (path.startsWith('tests/') || path.startsWith('hack/')) {
      if (!isTest) faults.push(`${file}: nothing in the house may import ${path}`);
    } else if (other !== room) {
      if (target.startsWith('.')) faults.push(`${file}: import ${path} as #${path}: it is another room`);
      if (!isTest && !(rooms[room] ?? []).includes(other ?? '')) faults.push(`${file}: ${room} may not import ${path}`);
    }
  }
}
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exit(1);
console.log(`rooms: ${files.length} files, no wall broken`);
