// Entry of `npm run bench`: a table of benches, each loading its file when called.
import { existsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { OperatorStartOptions } from './operator-start.ts';
import type { OperatorBenchOptions } from './operator.ts';
import type { ParallelOptions } from './parallel.ts';

const leastRounds = 5;

const program = new Command('bench')
  .usage('NAME [options]')
  .description('Measures speed on this machine. Figures are medians of rounds, with the conditions they were taken under.')
  .showHelpAfterError()
  .addHelpText(
    'after',
    '\nWL_ISA (avx2, generic) and WL_THREADS choose what is measured.\nExample:\n  npm run bench -- train --torch ~/torch-venv',
  );

program
  .command('train')
  .description('training steps of a GPT with 12 million parameters, batch 16 x 256, fp32')
  .option('--json', 'print one JSON object', false)
  .option(
    '--torch <path>',
    'compare with PyTorch eager, step by step in turns: a python with torch and safetensors, or its venv',
    python,
  )
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .option('--steps <count>', 'steps of each round', wholeFrom(1), 1)
  .option('--warmup <count>', 'steps before the first round', wholeFrom(1), 2)
  .option('--profile', 'one more step of each side, with the time of every operation', false)
  .action(async (options: { json: boolean; torch?: string; rounds: number; steps: number; warmup: number; profile: boolean }) => {
    const { benchTraining } = await import('./train.ts');
    process.exitCode = (await benchTraining(options)) ? 0 : 1;
  });

program
  .command('parallel')
  .description('two processes with one thread each (DDP, ZeRO-3) against one process with two threads, GPT, fp32')
  .option('--large', 'GPT-2 with 124 million parameters, batch 8 x 256, instead of 12 million, 16 x 256', false)
  .addOption(new Option('--only <side>', 'measure only this one beside one process').choices(['ddp', 'zero3']))
  .option('--json', 'print one JSON object', false)
  .option('--torch <path>', 'compare with PyTorch DDP over Gloo, step by step in turns', python)
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .option('--warmup <count>', 'steps before the first round', wholeFrom(1), 1)
  .option('--profile', 'one more step of each of our sides, with the time of every operation of one rank', false)
  .action(async (options: ParallelOptions) => {
    if (options.only === 'zero3' && options.torch !== undefined)
      program.error('error: PyTorch is compared with DDP, which is left out.');
    const { benchParallel } = await import('./parallel.ts');
    process.exitCode = (await benchParallel(options)) ? 0 : 1;
  });

program
  .command('checkpoint')
  .description('saving and loading 1.5 GB of training state, beside plain writes and reads of as much')
  .option('--json', 'print one JSON object', false)
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .option('--folder <path>', 'a folder on the disk to measure', tmpdir())
  .action(async (options: { json: boolean; rounds: number; folder: string }) => {
    const { benchCheckpoint } = await import('./checkpoint.ts');
    await benchCheckpoint(options);
  });

program
  .command('operator')
  .description(
    'pods a second beside raw requests to the same API server; restarts, writes, memory, rest and start of the operator',
  )
  .option('--json', 'print a JSON object for each figure', false)
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .addOption(
    new Option('--only <part...>', 'measure only these').choices(['jobs', 'gang', 'restart', 'rest']).default([], 'all of them'),
  )
  .option('--divide <by>', 'divide the numbers of jobs and pods by this, for a quick look', wholeFrom(1), 1)
  .option('--parallel <count>', 'connections of the raw client', wholeFrom(1), 32)
  .option('--profile <folder>', 'write a profile of the operator there, for the developer tools of Chrome')
  .action(async (options: OperatorBenchOptions) => {
    const { benchOperator } = await import('./operator.ts');
    process.exitCode = (await benchOperator(options)) ? 0 : 1;
  });

program
  .command('operator-start')
  .description('from the start of the operator container on a real node to its readiness; needs root')
  .option('--json', 'print a JSON object for each image', false)
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .option(
    '--beside <name=archive...>',
    'images of other versions to start in turns with ours, from hack/image --name',
    images,
    [],
  )
  .action(async (options: OperatorStartOptions) => {
    const { benchOperatorStart } = await import('./operator-start.ts');
    await benchOperatorStart(options);
  });

for (const [name, what] of Object.entries({
  gemm: 'linear layers and the fused loss, by shape',
  attention: 'attention of training and of decoding, by shape',
  elementwise: 'norms, activations, embedding, optimizer, random numbers and sampling',
})) {
  program
    .command(name)
    .description(`${what} (native program, best of many runs)`)
    .action(async () => {
      const { runNativeBench } = await import('./native.ts');
      process.exitCode = await runNativeBench(name);
    });
}

await program.parseAsync();

function python(path: string): string {
  const inside = join(path, 'bin/python');
  const found = existsSync(path) && statSync(path).isDirectory() ? inside : path;
  if (!existsSync(found)) throw new InvalidArgumentError(`there is no ${found}.`);
  return found;
}

function images(text: string, before: OperatorStartOptions['beside']): OperatorStartOptions['beside'] {
  const [name, archive] = text.split('=');
  if (!name || !archive || !existsSync(archive)) throw new InvalidArgumentError('give NAME=ARCHIVE.');
  return [...before, { name, archive }];
}

function wholeFrom(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least) throw new InvalidArgumentError(`a whole number from ${least} is needed.`);
    return value;
  };
}
