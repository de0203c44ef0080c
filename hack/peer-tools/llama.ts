// llama.cpp: its tools, built from the sources that the npm package node-llama-cpp carries as a git bundle.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { folderOf, peersFolder } from './folders.ts';
import { step, tenths } from './steps.ts';
import type { Say } from './steps.ts';

/** Of the npm package; it carries llama.cpp v0.5.0. */
const packageVersion = '3.22.1';
export const llamaVersion = 'v0.5.0';

const folder = folderOf('llama', packageVersion);

export const variants = ['native', 'avx2'] as const;
/** What the tools may use: all that this machine has, or AVX2 and FMA. */
export type LlamaVariant = (typeof variants)[number];

const tools = ['llama-bench', 'llama-batched-bench', 'llama-server', 'llama-cli'] as const;
export type LlamaTool = (typeof tools)[number];

const variantFlags: Readonly<Record<LlamaVariant, readonly string[]>> = {
  native: ['-DGGML_NATIVE=ON'],
  avx2: ['-DGGML_NATIVE=OFF', '-DGGML_AVX512=OFF'],
};

/** Nothing that is fetched while building, and nothing that no tool needs. */
const flags = [
  '-DCMAKE_BUILD_TYPE=Release',
  '-DBUILD_SHARED_LIBS=OFF',
  ...['TESTS', 'EXAMPLES', 'APP', 'UI'].map((part) => `-DLLAMA_BUILD_${part}=OFF`),
  '-DLLAMA_USE_PREBUILT_UI=OFF',
  '-DLLAMA_OPENSSL=OFF',
  '-DGGML_CCACHE=OFF',
];

/** The path of a tool. Throws how to get it where it is not there. */
export function llamaTool(tool: LlamaTool, variant: LlamaVariant): string {
  const path = join(folder, variant, 'bin', tool);
  if (!existsSync(marker(variant))) throw new Error(`llama.cpp is not set up here: run hack/peers llama --variant ${variant}`);
  return path;
}

/** Goes on where an earlier call was cut off. */
export async function installLlama(wanted: readonly LlamaVariant[], say: Say): Promise<void> {
  await fetchSource(say);
  mendTiles();
  for (const variant of wanted) {
    if (existsSync(marker(variant))) {
      say(`llama.cpp ${llamaVersion} (${variant}) is in ${join(folder, variant)}`);
      continue;
    }
    const [build, log] = [join(folder, variant), (what: string) => join(folder, `${variant}.${what}.log`)];
    say(`configuring llama.cpp ${llamaVersion} (${variant})`);
    const configuration = ['-S', source, '-B', build, '-G', 'Ninja', ...flags, ...variantFlags[variant]];
    await step('cmake', configuration, { log: log('configure') });
    say(`building ${tools.join(', ')} (${variant}); this takes some minutes`);
    const onLine = tenths(`building (${variant})`, say);
    await step('ninja', ['-C', build, ...tools], { log: log('build'), onLine });
    writeFileSync(marker(variant), `${llamaVersion}\n`);
    say(`llama.cpp ${llamaVersion} (${variant}) is in ${build}`);
  }
}

const source = join(folder, 'source');
/** There once the tools of a variant have been built to the end. */
const marker = (variant: LlamaVariant) => join(folder, `${variant}.ready`);

async function fetchSource(say: Say): Promise<void> {
  if (existsSync(source)) return;
  say(`getting the sources of llama.cpp ${llamaVersion} from npm (node-llama-cpp ${packageVersion}, 36 MB)`);
  mkdirSync(folder, { recursive: true });
  const temporary = mkdtempSync(join(peersFolder(), '.fetching-'));
  try {
    const log = join(folder, 'source.log');
    await step('npm', ['pack', `node-llama-cpp@${packageVersion}`, '--pack-destination', temporary], { log });
    const archive = join(temporary, `node-llama-cpp-${packageVersion}.tgz`);
    const bundle = 'package/llama/gitRelease.bundle';
    await step('tar', ['-xzf', archive, '-C', temporary, bundle], { log });
    await step('git', ['clone', '--quiet', join(temporary, bundle), join(temporary, 'source')], { log });
    renameSync(join(temporary, 'source'), source);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function mendTiles(): void {
  const path = join(source, 'ggml/src/ggml-cpu/amx/mmq.cpp');
  const text = readFileSync(path, 'utf8');
  const mended = withBarrier(text);
  if (mended !== text) writeFileSync(path, mended);
}

/**
 * gcc 12 takes it that `ldtilecfg` reads 8 of the 64 bytes, so it drops what fills the others, and the first tile instruction crashes. The
 * barrier makes it believe that all of them are read.
 */
export function withBarrier(text: string): string {
  const barrier = '__asm__ volatile("" : : "r"(&tc) : "memory");';
  const load = '_tile_loadconfig(&tc);';
  return text.includes(barrier) ? text : text.replace(load, `${barrier}\n    ${load}`);
}
