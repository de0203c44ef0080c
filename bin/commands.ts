// The command line: a table of commands, each loading its room when it is called.
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { OperatorFlags } from '#operator/cli/operator.ts';
import { recipes } from '#runtime/model/gguf/recipes.ts';
import type { RecipeName } from '#runtime/model/gguf/recipes.ts';
import { podCommands } from './pod-commands.ts';
import { endWith, report } from './report.ts';
import { addVerbs } from './verbs.ts';
import type { CommandWords } from '#operator/cli/completion/words.ts';
import type { PlanOptions } from './plan/command.ts';

const version = '0.1.0';

/** The name of the file that was started: kubectl finds plugins by theirs. */
const calledAs = process.env['WL_CALLED_AS'] ?? 'windlass';
const isCompletion = calledAs === 'kubectl_complete-windlass';
const isPlugin = calledAs === 'kubectl-windlass' || isCompletion;

const program = new Command(isPlugin ? 'kubectl windlass' : 'windlass')
  .description('Trains and serves language models from Kubernetes manifests, on one machine or in a cluster.')
  .version(version)
  .showHelpAfterError(`(see ${isPlugin ? 'kubectl windlass' : 'windlass'} --help)`)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : ExitCode.userError))
  .configureHelp({ showGlobalOptions: true })
  .addHelpText('after', '\nStart with:\n  windlass run -f examples/quickstart.yaml --ask "Call me" --exit');

const stateOption = () =>
  new Option('--state <dir>', 'folder that holds objects, checkpoints, models and logs').default('.windlass');
const windlassCommand = [process.execPath, join(import.meta.dirname, 'windlass.ts')];

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 1.');
  return Number(text);
}

function busUrl(text: string): string {
  if (!/^(nats|tls):\/\/[^/]+:\d+$/.test(text)) throw new InvalidArgumentError('Give nats://HOST:PORT or tls://HOST:PORT.');
  return text;
}

function httpsUrl(text: string): string {
  if (!/^https:\/\/[^/:]+:\d+$/.test(text)) throw new InvalidArgumentError('Give https://HOST:PORT.');
  return text;
}

/** Milliseconds of `90s`, `30m` or `24h`. */
function lifetime(text: string): number {
  const [, count, unit = ''] = /^([1-9]\d{0,6})([smh])$/.exec(text) ?? [];
  const unitMs = { s: 1_000, m: 60_000, h: 3_600_000 }[unit];
  if (unitMs === undefined) throw new InvalidArgumentError('Give a time such as 90s, 30m or 24h.');
  return Number(count) * unitMs;
}

/** Numbers that a shell adds to 128 for an end by signal. */
const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type EndSignal = keyof typeof signalNumbers;

/** Fires on the first Ctrl-C, SIGTERM or hang-up, with the exit code as its reason; the second ends the process at once. */
function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of Object.keys(signalNumbers) as EndSignal[]) {
    const exitCode = 128 + signalNumbers[signal];
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(exitCode);
    });
  }
  return controller.signal;
}

program
  .command('run')
  .description('apply manifests on this machine: train, serve, and show how it goes')
  .requiredOption('-f, --file <file...>', 'manifests to apply; - reads standard input')
  .option('--ask <text>', 'text for the service to continue once it is ready')
  .option('--exit', 'end when the jobs have ended and the question is answered', false)
  .option(
    '--profile <file>',
    'write there, at the end, where the time of a few training steps and of the requests went: for https://ui.perfetto.dev',
  )
  .addOption(stateOption())
  .action(async (options: { file: string[]; ask?: string; exit: boolean; profile?: string; state: string }) => {
    const [{ run }, { stateDirOf }] = await Promise.all([import('#operator/cli/run.ts'), import('#operator/cli/state-dir.ts')]);
    const interrupt = interruptSignal();
    const { file: files, ask, exit, profile } = options;
    const end = await run({
      files,
      ask,
      exit,
      profile,
      state: stateDirOf(options.state),
      windlassCommand,
      terminal: process.stdout,
      interrupt,
    });
    process.exitCode = interrupt.aborted ? Number(interrupt.reason) : end === 'failed' ? 1 : 0;
  });

addVerbs(program, { isPlugin, version, interruptSignal });

program
  .command('stop')
  .description('end the running instance in order; a later run goes on where it was')
  .addOption(stateOption())
  .action(async (options: { state: string }) => {
    const [{ stopInstance }, { stateDirOf }] = await Promise.all([
      import('#operator/cli/stop.ts'),
      import('#operator/cli/state-dir.ts'),
    ]);
    await stopInstance(stateDirOf(options.state));
  });

program
  .command('operator')
  .description('run the controllers on a cluster')
  .option('--kubeconfig <file>', 'kubeconfig to use; in a pod, its service account if left out')
  .option('--context <name>', 'context of the kubeconfig; its current one if left out')
  .option('-n, --namespace <name...>', 'namespaces to work in; all of the cluster if left out')
  .addOption(new Option('--image <image>', 'image of pods whose runtime names none').env('WL_IMAGE').makeOptionMandatory())
  .option(
    '--bus <url>',
    'event bus that ranks report their progress to, nats://HOST:PORT or tls://HOST:PORT; none if left out',
    busUrl,
  )
  .option('--bus-ca <file>', 'PEM of who vouches for a bus at tls:// that is not of this installation')
  .option('--own-bus', 'keep certificates and users of the bus, from the Secret windlass-bus that its pod mounts', false)
  .option('--credentials-url <url>', 'https://HOST:PORT where pods of jobs get their credentials; without it, no TLS', httpsUrl)
  .option('--credentials-address <address>', 'where these are served', ':8443')
  .option('--certificate-lifetime <time>', 'how long certificates of pods are valid, as 24h', lifetime, 24 * 3_600_000)
  .option('--authority-lifetime <time>', 'how long the authority that signs them is', lifetime, 8_760 * 3_600_000)
  .option('--network-policies', 'let pods of jobs and services reach, and be reached by, only what they need', false)
  .option('--leader-elect', 'let one of several operators lead, by a lease', true)
  .option('--no-leader-elect', 'lead at once: only where no second operator can run')
  .option('--lease-namespace <name>', 'namespace of the lease; that of the service account or context if left out')
  .option('--metrics-address <address>', 'where /metrics is served, as HOST:PORT or :PORT; 0 for nowhere', ':8080')
  .option('--health-address <address>', 'where /healthz and /readyz are served; 0 for nowhere', ':8081')
  .option('--profile-address <address>', 'where /debug/profile and /debug/heap are served; 0 for nowhere', '0')
  .option('--workers <count>', 'objects of a kind reconciled at the same time', wholeNumber, 32)
  .addOption(new Option('--log-level <level>', 'what to log').choices(['debug', 'info', 'warn', 'error']).default('info'))
  .action(async (options: OperatorFlags, command: Command) => {
    if (options.ownBus && (options.bus === undefined || options.credentialsUrl === undefined))
      command.error('error: --own-bus wants --bus tls://HOST:PORT and --credentials-url');
    if (options.authorityLifetime < 4 * options.certificateLifetime)
      command.error('error: --authority-lifetime must be at least four times --certificate-lifetime');
    const { runOperator } = await import('#operator/cli/operator.ts');
    await runOperator({ ...options, namespaces: options.namespace ?? [], version, signal: interruptSignal() });
  });

program
  .command('lint')
  .description('check manifests without running anything')
  .argument('<file...>', 'manifests; - reads standard input')
  .action(async (files: string[]) => {
    const { readManifestFiles } = await import('#operator/cli/manifest-files.ts');
    const manifests = await readManifestFiles(files);
    process.stdout.write(
      manifests
        .map(({ file, line, resource, object }) => `${file}:${line}: ${resource.kind} ${object.metadata.name} is valid\n`)
        .join(''),
    );
  });

program
  .command('plan')
  .description('show what each rank of a training job would hold and send, without running anything')
  .requiredOption('-f, --file <file...>', 'manifests; - reads standard input')
  .addOption(
    new Option('-o, --output <format>', 'how to print; csv is the pipeline schedule')
      .choices(['text', 'json', 'csv'])
      .default('text'),
  )
  .option('--schedule', 'show when each rank of the pipeline computes what', false)
  .option('--svg <file>', 'draw the mesh, or with --schedule the timeline, into this file')
  .option('--schedule-csv <file>', 'take the pipeline schedule from this file, as -o csv prints one: to check and to draw it')
  .option(
    '--trace <dir>',
    'the folder of the job: show what its trace measured and the stageLayers that suit it, or with --schedule its timeline',
  )
  .action(async (options: Omit<PlanOptions, 'files' | 'write'> & { file: string[] }) => {
    const { plan } = await import('./plan/command.ts');
    const { file: files, output, schedule, svg, trace, scheduleCsv } = options;
    await plan({ files, output, schedule, svg, trace, scheduleCsv, write: (text) => void process.stdout.write(text) });
  });

program
  .command('export')
  .description('write a model as a Hugging Face folder or a GGUF file')
  .argument('<model>', 'Model, ModelVersion, folder of one, or GGUF file')
  .requiredOption('--to <target>', 'folder, or FILE.gguf')
  .addOption(new Option('--type <type>', 'type of the weights in a GGUF file').choices(['f32', 'f16']).default('f16'))
  .addOption(stateOption())
  .action(async (model: string, options: { to: string; type: 'f32' | 'f16'; state: string }) => {
    const [{ findModelFolder }, { exportModel }, { stateDirOf }] = await Promise.all([
      import('#operator/cli/model-folder.ts'),
      import('#runtime/model/export.ts'),
      import('#operator/cli/state-dir.ts'),
    ]);
    const recipe = options.type === 'f32' ? 'F32' : 'F16';
    await exportModel({ from: await findModelFolder(stateDirOf(options.state), model), to: options.to, recipe });
    process.stdout.write(`wrote ${options.to}\n`);
  });

program
  .command('quantize')
  .description('write a model as a GGUF file of smaller types, and say what that costs')
  .argument('<model>', 'Model, ModelVersion, folder of one, or GGUF file')
  .argument('<file>', 'the GGUF file to write')
  .addOption(new Option('--type <recipe>', 'as llama.cpp names them').choices(Object.keys(recipes)).default('Q4_K_M'))
  .addOption(stateOption())
  .action(async (model: string, to: string, { type, state }: { type: RecipeName; state: string }) => {
    const [{ findModelFolder }, { quantizeModel }, { stateDirOf }] = await Promise.all([
      import('#operator/cli/model-folder.ts'),
      import('#runtime/model/quantize-model.ts'),
      import('#operator/cli/state-dir.ts'),
    ]);
    const from = await findModelFolder(stateDirOf(state), model);
    await quantizeModel({ from, to, recipe: type, write: (line) => void process.stdout.write(`${line}\n`) });
  });

program
  .command('completion')
  .description('print a completion script for your shell')
  .argument('<shell>', 'bash, zsh or fish')
  .action(async (shell: string) => {
    const { completionScript } = await import('#operator/cli/completion/script.ts');
    process.stdout.write(completionScript(shell, commandWords()));
  });

for (const [name, main] of podCommands) program.command(name, { hidden: true }).action(async () => void (await main()));

program
  .command('__complete', { hidden: true })
  .argument('[words...]')
  .allowUnknownOption()
  .helpOption(false)
  .action(async (words: string[]) => {
    const { complete } = await import('#operator/cli/completion/complete.ts');
    process.stdout.write(await complete(words, commandWords(), { isPlugin, version }), () => process.exit(0));
  });

/** The table of commands, for completion. */
function commandWords(): CommandWords[] {
  const shown = program.commands.filter((command) => ![...podCommands.keys(), '__complete'].includes(command.name()));
  return shown.map((command) => ({
    name: command.name(),
    description: command.description(),
    options: command.options.map(({ short, long, required, optional, argChoices }) => ({
      flags: [short, long].filter((flag) => flag !== undefined),
      takesValue: required || optional,
      choices: argChoices,
    })),
  }));
}

// Processes of pods say in their own way why they end.
if (!podCommands.has(process.argv[2] ?? '')) process.on('uncaughtException', endWith);
try {
  await (isCompletion
    ? program.parseAsync(['__complete', '--', ...process.argv.slice(2)], { from: 'user' })
    : program.parseAsync());
} catch (error) {
  process.exitCode = report(error);
}
