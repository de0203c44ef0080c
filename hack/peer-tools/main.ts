// hack/peers: sets up what our speed is compared with.
import { Command, Option } from 'commander';
import { peersFolder } from './folders.ts';
import { installLlama, variants } from './llama.ts';
import type { LlamaVariant } from './llama.ts';
import { fetchSmolLm2 } from './smollm2.ts';
import type { Say } from './steps.ts';
import { installTorch } from './torch.ts';

const say: Say = (line) => console.error(`peers: ${line}`);

const program = new Command('hack/peers')
  .description(`Sets up peers for benches, by version, in ${peersFolder()}. What is there already is left as it is.`)
  .showHelpAfterError('(see hack/peers --help)')
  .addHelpText('after', '\nStart with:\n  hack/peers torch\n  hack/peers llama\n  npm run bench -- train');

program
  .command('torch')
  .description('PyTorch and transformers in a virtual environment, and jemalloc: for gemm, attention, adamw and train')
  .option('--index <url>', 'a package index with wheels for the CPU alone; PyPI brings 3 GB of CUDA along')
  .action(async (options: { index?: string }) => await installTorch(options, say));

program
  .command('llama')
  .description("llama.cpp's tools, built from source: for decode, prefill, batch, server and coldstart")
  .addOption(new Option('--variant <variant...>', 'instruction sets').choices(variants).default([...variants], 'both'))
  .action(async ({ variant }: { variant: LlamaVariant[] }) => await installLlama(variant, say));

program
  .command('smollm2')
  .description('SmolLM2-135M-Instruct, a small chat model of real weights in a GGUF file of 98 MB')
  .action(async () => await fetchSmolLm2(say));

try {
  await program.parseAsync();
} catch (error) {
  console.error(`peers: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
