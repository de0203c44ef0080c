// Entry of `npm run bench`: a table of benches, each loading its file when called.
import { existsSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { jemallocLibrary, torchPython } from '../../hack/peer-tools/torch.ts';
import type { KernelBench } from './kernels/bench.ts';
import { cacheTypes } from '#crds/v1alpha1/inference-service.ts';
import { isaClasses } from './line.ts';
import type { BenchLine, IsaClass } from './line.ts';
import type { OperatorStartOptions } from './operator-start.ts';
import type { OperatorBenchOptions } from './operator.ts';
import type { ParallelOptions } from './parallel.ts';
import type { PrecisionBenchOptions } from './precision.ts';
import type { AgreementOptions } from './serving/agreement.ts';
import type { BesideOptions } from './serving/beside.ts';
import type { LoadOptions } from './serving/load.ts';
import type { ServingOptions, SpeedBench, SpeedOptions } from './serving/speed.ts';
import type { SseOptions } from './serving/sse.ts';
import type { TrainOptions } from './train.ts';

const leastRounds = 5;
const torchWords = 'a python with torch and safetensors, or its venv; that of hack/peers torch if left out';

const program = new Command('bench')
  .usage('NAME [options]')
  .description('Measures speed on this machine. Figures are medians of rounds, with the conditions they were taken under.')
  .showHelpAfterError()
  .addHelpText(
    'after',
    '\nWL_THREADS says how many threads both sides have.\nStart with:\n  hack/peers torch\n  npm run bench -- train --model 124m-4x64',
  )
  .option('--report', 'write the tables of docs/performance.md from what --keep has kept', false)
  .action(async ({ report }: { report: boolean }) => {
    if (!report) program.help();
    const { writeReport } = await import('./report.ts');
    await writeReport();
  });

for (const [name, what] of Object.entries({
  gemm: 'matrix products of linear layers, forward and backward, against PyTorch and OpenBLAS',
  attention: 'causal attention, forward and backward, against PyTorch',
  adamw: 'the optimizer, against fused AdamW of PyTorch',
} satisfies Record<KernelBench, string>)) {
  withCommon(program.command(name).description(what), leastRounds)
    .option('--torch <path>', torchWords, python)
    .option('--only <text>', 'leave out what has this not in its name', '')
    .action(async ({ torch, json, keep, isa, rounds, only }: CommonOptions & { torch?: string; only: string }) => {
      useIsa(isa);
      const { benchKernels } = await import('./kernels/bench.ts');
      await finish(await benchKernels(name as KernelBench, { isa, rounds, only, torch: torch ?? installedTorch() }), {
        json,
        keep,
      });
    });
}

withCommon(program.command('train').description('training steps of a GPT, in f32 or bf16, against PyTorch'), 8)
  .addOption(
    new Option('--model <name>', 'millions of parameters, and sequences x length of a batch')
      .choices(['12m-16x256', '124m-4x64', '124m-1x1024'])
      .default('12m-16x256'),
  )
  .addOption(
    new Option('--precision <name>', 'of both sides; bf16 of PyTorch is autocast').choices(['f32', 'bf16']).default('f32'),
  )
  .option('--torch <path>', torchWords, python)
  .addOption(
    new Option('--settings <name...>', 'of PyTorch: as it comes; with jemalloc and huge pages; compiled as well')
      .choices(['eager', 'tuned', 'compiled'])
      .default(['eager', 'tuned']),
  )
  .option('--steps <count>', 'steps of each round', wholeFrom(1), 1)
  .option('--warmup <count>', 'steps before the first round', wholeFrom(1), 2)
  .option('--profile', 'one more step of each side, with the time of every operation', false)
  .action(async ({ json, keep, torch, ...options }: CommonOptions & Omit<TrainOptions, 'jemalloc'>) => {
    useIsa(options.isa);
    const [{ benchTraining, comparedSteps }, { printOperations }] = await Promise.all([
      import('./train.ts'),
      import('./print.ts'),
    ]);
    if (options.warmup + options.rounds * options.steps < comparedSteps)
      program.error(`error: the losses of ${comparedSteps} steps are compared: take more rounds, or more steps in each.`);
    const jemalloc = jemallocLibrary();
    const settings = options.settings.filter((name) => name === 'eager' || jemalloc !== undefined);
    if (settings.length < options.settings.length)
      console.error('without jemalloc (hack/peers torch), PyTorch is measured as it comes');
    const run = await benchTraining({ ...options, settings, torch: torch ?? installedTorch(), jemalloc });
    if (run.fault !== undefined) {
      console.error(`void: ${run.fault}`);
      process.exitCode = 1;
    }
    await finish(run.line, { json, keep: keep && run.fault === undefined });
    if (!json) printOperations(run.operations);
  });

withCommon(program.command('precision').description('training steps of a GPT in bf16, against the same in f32'), leastRounds)
  .addOption(
    new Option('--model <name>', 'millions of parameters, and sequences x length of a batch')
      .choices(['12m-16x256', '124m-4x64', '124m-1x1024'])
      .default('12m-16x256'),
  )
  .action(async ({ json, keep, ...options }: CommonOptions & PrecisionBenchOptions) => {
    useIsa(options.isa);
    const { benchPrecision } = await import('./precision.ts');
    await finish(await benchPrecision(options), { json, keep });
  });

for (const [name, { what, tokens }] of Object.entries({
  decode: { what: 'tokens of one sequence, against llama-bench', tokens: 128 },
  prefill: { what: 'a prompt, against llama-bench', tokens: 512 },
  batch: { what: 'tokens of 8 sequences together, against llama-batched-bench', tokens: 64 },
} satisfies Record<SpeedBench, object>)) {
  withServing(program.command(name).description(what))
    .option('--tokens <count>', 'so many, of each sequence', wholeFrom(1), tokens)
    .addOption(
      new Option('--cache <type>', 'what both keep keys and values as; ours f32 and llama.cpp f16 if left out').choices(
        cacheTypes,
      ),
    )
    .addOption(
      new Option('--depth <tokens>', 'of decode: tokens before those that count')
        .argParser(wholeFrom(0))
        .default(0)
        .hideHelp(name !== 'decode'),
    )
    .action(async ({ json, keep, ...options }: CommonOptions & ServingFlags & Omit<SpeedOptions, keyof ServingOptions>) => {
      useIsa(options.isa);
      const { benchSpeed } = await import('./serving/speed.ts');
      await finish(await benchSpeed(name as SpeedBench, { ...options, model: options.model }), { json, keep });
    });
}

withServing(program.command('server').description('requests of many clients that share a prefix, against llama-server'))
  .option('--clients <count>', 'at the same time', wholeFrom(1), 16)
  .option('--prefix <tokens>', 'what the prompts of a round begin with', wholeFrom(1), 1024)
  .option('--tokens <count>', 'that each client asks for', wholeFrom(1), 32)
  .action(async ({ json, keep, ...options }: CommonOptions & ServingFlags & Omit<LoadOptions, keyof ServingOptions>) => {
    useIsa(options.isa);
    const { benchServer } = await import('./serving/load.ts');
    await finish(await benchServer({ ...options, model: options.model }), { json, keep });
  });

withServing(
  program.command('coldstart').description('from the start of a process to its first token, against llama-server'),
).action(async ({ json, keep, ...options }: CommonOptions & ServingFlags) => {
  useIsa(options.isa);
  const { benchColdStart } = await import('./serving/load.ts');
  await finish(await benchColdStart({ ...options, model: options.model }), { json, keep });
});

withServing(
  program
    .command('beside')
    .description(
      'first token of a short prompt while a long one is being computed, against llama-server; take 40 rounds or more',
    ),
)
  .option('--long <tokens>', 'of the long prompt', wholeFrom(1), 1024)
  .option('--short <tokens>', 'of the short one', wholeFrom(1), 32)
  .action(async ({ json, keep, ...options }: CommonOptions & ServingFlags & Omit<BesideOptions, keyof ServingOptions>) => {
    useIsa(options.isa);
    const { benchBeside } = await import('./serving/beside.ts');
    await finish(await benchBeside({ ...options, model: options.model }), { json, keep });
  });

program
  .command('speculation')
  .description('processor time of a token with guesses from its own text and without, in turns')
  .requiredOption('--model <path>', 'a folder in Hugging Face layout, or a GGUF file')
  .option('--tokens <count>', 'of each answer', wholeFrom(2), 128)
  .option('--guesses <count>', 'at most, in a step', wholeFrom(1), 6)
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .option('--json', 'print one JSON object', false)
  .action(async ({ json, ...options }: { model: string; tokens: number; guesses: number; rounds: number; json: boolean }) => {
    const { benchSpeculation, printSpeculation } = await import('./serving/speculation.ts');
    const rows = await benchSpeculation(options);
    if (json) console.log(JSON.stringify({ bench: 'speculation', ...options, rows }));
    else printSpeculation(rows);
  });

program
  .command('schedule')
  .description('time to plan a step while many sequences run')
  .option('--sequences <count>', 'that run', wholeFrom(1), 256)
  .option('--rounds <count>', `of 64 steps, at least ${leastRounds}`, wholeFrom(leastRounds), 10)
  .action(async (options: { sequences: number; rounds: number }) => {
    const { benchSchedule } = await import('./serving/schedule.ts');
    const { median, p99 } = benchSchedule(options);
    console.log(`${options.sequences} sequences: schedule() takes ${median.toFixed(0)} us, p99 ${p99.toFixed(0)} us`);
  });

program
  .command('sse')
  .description('processor time of the server for a streamed token, over a model that costs nothing: 1, 16 and 64 streams')
  .option('--tokens <count>', 'of each stream', wholeFrom(1), 512)
  .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), leastRounds)
  .option('--profile <folder>', 'write a profile of the server there, for the developer tools of Chrome')
  .option('--json', 'print one JSON object', false)
  .action(async ({ json, ...options }: SseOptions & { json: boolean }) => {
    const { benchSse, printSse } = await import('./serving/sse.ts');
    const figures = await benchSse(options);
    if (json) console.log(JSON.stringify({ bench: 'sse', ...options, ...figures }));
    else printSse(figures);
  });

program
  .command('agreement')
  .description('probabilities of the next token beside those of llama-server: no figure of speed')
  .requiredOption('--model <path>', 'a GGUF file')
  .addOption(new Option('--isa <class>', 'as for the other benches').choices(isaClasses).default('native'))
  .option('--prompts <count>', 'of the 20 that there are', wholeFrom(1), 20)
  .option('--tokens <count>', 'after each of them', wholeFrom(1), 64)
  .option('--json', 'print one JSON object', false)
  .action(async ({ json, ...options }: AgreementOptions & { json: boolean }) => {
    useIsa(options.isa);
    const [{ benchAgreement }, { printAgreement }] = await Promise.all([
      import('./serving/agreement.ts'),
      import('./serving/print-agreement.ts'),
    ]);
    const found = await benchAgreement(options);
    if (json) console.log(JSON.stringify(found));
    else printAgreement(found);
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

program
  .command('native')
  .description('a native program that prints every shape, best of many runs: for work on kernels')
  .addArgument(program.createArgument('<name>', 'which').choices(['gemm', 'attention', 'elementwise', 'collectives']))
  .action(async (name: string) => {
    const { runNativeBench } = await import('./native.ts');
    process.exitCode = await runNativeBench(name);
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

/** Options that all comparisons have. */
interface CommonOptions {
  readonly isa: IsaClass;
  readonly rounds: number;
  readonly json: boolean;
  readonly keep: boolean;
}

interface ServingFlags {
  readonly model?: string;
  readonly peer: boolean;
}

function withCommon(command: Command, rounds: number): Command {
  return command
    .addOption(
      new Option('--isa <class>', 'native: all that the machine has; avx2: both sides are kept to AVX2 and FMA')
        .choices(isaClasses)
        .default('native'),
    )
    .option('--rounds <count>', `rounds that count, at least ${leastRounds}`, wholeFrom(leastRounds), rounds)
    .option('--json', 'print one JSON object', false)
    .option('--keep', 'add the result to docs/performance.jsonl, from which --report writes tables', false);
}

function withServing(command: Command): Command {
  return withCommon(command, leastRounds)
    .option('--model <path>', 'a folder in Hugging Face layout, or a GGUF file; random weights if left out')
    .option('--no-peer', 'without llama.cpp');
}

/** The core reads it when it is loaded: before any bench is imported. */
function useIsa(isa: IsaClass): void {
  if (isa === 'avx2') process.env['WL_ISA'] = 'avx2';
}

function installedTorch(): string | undefined {
  try {
    return torchPython();
  } catch (error) {
    console.error(`no peer: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

async function finish(line: BenchLine, { json, keep }: Pick<CommonOptions, 'json' | 'keep'>): Promise<void> {
  const [{ printLine }, { keepLine }] = await Promise.all([import('./print.ts'), import('./report.ts')]);
  if (keep) await keepLine(line);
  if (json) console.log(JSON.stringify(line));
  else printLine(line);
}

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
