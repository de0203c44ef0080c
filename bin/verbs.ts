// The commands that talk to an instance of this machine or to a cluster, whichever is there (docs/commands.md has the rule).
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import type { OutputFormat } from '#operator/cli/objects.ts';
import type { TargetFlags } from '#operator/cli/target/choose.ts';
import type { Caller, Target } from '#operator/cli/target/target.ts';
import type { Verb } from '#operator/cli/steer/change.ts';

export interface VerbOptions extends Caller {
  /** Fires when the user wants to end. */
  readonly interruptSignal: () => AbortSignal;
}

/** Adds the verbs to the program. */
export function addVerbs(program: Command, { interruptSignal, ...caller }: VerbOptions): void {
  const on = async <T>(flags: TargetFlags, command: (target: Target) => Promise<T>) => {
    const { withTarget } = await import('#operator/cli/target/target.ts');
    return await withTarget(flags, caller, command);
  };
  /** Who ends a command gets the exit code that a shell gives to an end by signal. */
  const tellInterruption = (signal: AbortSignal) => {
    if (signal.aborted) process.exitCode = Number(signal.reason);
  };
  const write = (text: string) => void process.stdout.write(text);
  const remark = (text: string) => void process.stderr.write(text);

  withTargetOptions(program.command('status'))
    .alias('get')
    .description('show jobs, services and models, or one of them in full')
    .argument('[what...]', 'KIND, KIND/NAME or NAME; kinds: tj, isvc, models, modelversions, ...')
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['table', 'json', 'yaml', 'wide', 'name']).default('table'),
    )
    .option('-w, --watch', 'go on showing what changes; with a job, until it has ended', false)
    .action(async (words: string[], { output, watch, ...flags }: TargetFlags & { output: OutputFormat; watch: boolean }) => {
      const { showStatus } = await import('#operator/cli/status/status.ts');
      const signal = interruptSignal();
      const terminal = process.stdout;
      const hasFailed = await on(flags, (target) => showStatus(target, { words, output, watch, terminal, remark, signal }));
      if (hasFailed) process.exitCode = 1;
      tellInterruption(signal);
    });

  withTargetOptions(program.command('logs'))
    .description('print the logs of all pods of a job or service, or of one pod')
    .argument('<what...>', 'KIND/NAME, or the name of a job, service or pod')
    .option('-f, --follow', 'go on with what is printed from now on, until the job has ended', false)
    .option('--rank <n>', 'only that rank of a job', wholeNumber)
    .option('--tail <lines>', 'newest lines of each pod', wholeNumber)
    .option('--since <duration>', 'only what is younger, such as 30s, 10m or 2h (clusters)', seconds)
    .option('-p, --previous', 'what containers printed before their last restart (clusters)', false)
    .action(async (words: string[], { follow, rank, tail, since, previous, ...flags }: TargetFlags & LogFlags) => {
      const [{ showLogs }, { wantsColour }] = await Promise.all([
        import('#operator/cli/logs/logs.ts'),
        import('#operator/cli/logs/prefix.ts'),
      ]);
      const coloured = wantsColour(process.stdout, process.env);
      const signal = interruptSignal();
      const more = { words, follow, rank, tail, previous, sinceSeconds: since, coloured, signal };
      await on(flags, (target) => showLogs(target, { ...more, write: writeAndWait, remark }));
      tellInterruption(signal);
    });

  withTargetOptions(program.command('chat'))
    .description('talk to a service')
    .argument('[service]', 'may be left out when there is only one')
    .option('-m, --message <text>', 'ask this and end')
    .action(async (service: string | undefined, { message, ...flags }: TargetFlags & { message?: string }) => {
      const { runChat } = await import('#operator/cli/chat.ts');
      const signal = interruptSignal();
      await on(flags, (target) => runChat(target, { service, message, input: process.stdin, write, signal }));
    });

  withTargetOptions(program.command('report'))
    .description('write a file for an issue: objects, events and logs, without secrets')
    .argument('[what...]', 'KIND/NAME or NAME; everything in the namespace if left out')
    .option('--to <file>', 'file to write; windlass-report-TIME.tar.gz if left out')
    .action(async (words: string[], { to, ...flags }: TargetFlags & { to?: string }) => {
      const { writeReport } = await import('#operator/cli/report/report.ts');
      const { version } = caller;
      const signal = interruptSignal();
      await on(flags, (target) => writeReport(target, { words, to, version, now: new Date(), write, signal }));
    });

  const steering = (verb: Verb, command: Command) =>
    withTargetOptions(command)
      .argument('<what...>', 'KIND/NAME, or the name of a job or service')
      .option('--wait', 'end when it has happened', false)
      .addOption(new Option('--timeout <duration>', 'longest wait, such as 90s or 1h').argParser(seconds).default(600, '10m'))
      .action(async (words: string[], { wait, timeout, ...flags }: TargetFlags & { wait: boolean; timeout: number }) => {
        const { steer } = await import('#operator/cli/steer/steer.ts');
        const waitSeconds = wait ? timeout : undefined;
        const signal = interruptSignal();
        await on(flags, (target) => steer(target, verb, { words, waitSeconds, write, signal }));
        tellInterruption(signal);
      });
  steering('pause', program.command('pause')).description('stop a job after a checkpoint, or leave a service as it is');
  steering('resume', program.command('resume')).description('let a job go on from its checkpoint, or a service be updated');
  steering('restart', program.command('restart')).description('make the pods of a job or service anew, without losing anything');

  program
    .command('explain')
    .description('say what an error code, exit code, state or reason means, and what to do')
    .argument('<code>', 'such as WL_DATA_EMPTY, 137 or MaxRestartsReached')
    .action(async (code: string) => {
      const { explain } = await import('#operator/cli/explain/explain.ts');
      write(explain(code, process.stdout.isTTY ? process.stdout.columns : 80));
    });
}

interface LogFlags {
  follow: boolean;
  rank?: number;
  tail?: number;
  since?: number;
  previous: boolean;
}

function withTargetOptions(command: Command): Command {
  return command
    .option('-n, --namespace <name>', 'namespace of the cluster; that of the context if left out')
    .option('-A, --all-namespaces', 'all namespaces of the cluster')
    .option('--context <name>', 'context of the kubeconfig; its current one if left out')
    .option('--kubeconfig <file>', 'kubeconfig to use; $KUBECONFIG or ~/.kube/config if left out')
    .option('--state <dir>', 'state folder of an instance of this machine; .windlass if left out');
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 0.');
  return Number(text);
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90s`, `5m`, `1h30m`, `2d`. */
function seconds(text: string): number {
  const parts = [...text.matchAll(/(\d{1,9})([smhd])/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text)
    throw new InvalidArgumentError('Give a duration such as 30s, 10m, 1h30m or 2d.');
  return parts.reduce((sum, [, count, unit = 's']) => sum + Number(count) * (unitSeconds[unit] ?? 1), 0);
}

/** Standard output, no faster than it is read. */
function writeAndWait(text: string): Promise<void> {
  if (process.stdout.write(text)) return Promise.resolve();
  return new Promise((resolve) => process.stdout.once('drain', resolve));
}
