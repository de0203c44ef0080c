// hack/cluster: builds, starts, lists and stops clusters for tests and for trying things out.
import { Command, Option } from 'commander';
import { build, missing } from './build.ts';
import { supervise } from './cluster.ts';
import { binaryOf, components, groups } from './components.ts';
import type { ComponentName, GroupName } from './components.ts';
import { controllers } from './control-plane.ts';
import type { Controller } from './control-plane.ts';
import { isAlive, runningClusters } from './state.ts';
import type { ClusterAccess, Size } from './state.ts';
import { until } from './wait.ts';

const say = (line: string): void => console.error(`cluster: ${line}`);

const program = new Command('hack/cluster')
  .description(
    'Real Kubernetes for tests: an API server, or a whole cluster with nodes, built from Go modules into a cache outside the checkout.',
  )
  .showHelpAfterError('(see hack/cluster --help)')
  .configureHelp({ showGlobalOptions: true })
  .addHelpText('after', '\nStart with:\n  hack/cluster up api\n  export KUBECONFIG=$(hack/cluster status --kubeconfig)');

program
  .command('build')
  .description(
    `build programs that are not in the cache: groups (${Object.keys(groups).join(', ')}) or single ones; all if none is named`,
  )
  .argument('[part...]', [...Object.keys(groups), ...Object.keys(components)].join(', '))
  .option('--quiet', 'do not print where the programs are', false)
  .action(async (parts: string[], { quiet }: { quiet: boolean }) => {
    const names = parts.length === 0 ? (Object.keys(components) as ComponentName[]) : [...new Set(parts.flatMap(namesOf))];
    await build(names, say);
    if (!quiet) for (const name of names) console.log(binaryOf(name));
  });

function namesOf(part: string): readonly ComponentName[] {
  if (part in groups) return groups[part as GroupName];
  if (part in components) return [part as ComponentName];
  throw new Error(`there is no ${part} to build; there are ${[...Object.keys(groups), ...Object.keys(components)].join(', ')}`);
}

program
  .command('up')
  .description('start a cluster and print the path of its kubeconfig; it runs until `down`')
  .addArgument(
    program
      .createArgument('<size>', 'api: etcd and the API server; node: all of it, with nodes that run pods')
      .choices(['api', 'node']),
  )
  .option('--name <name>', 'to tell it from others; one that is free if left out')
  .addOption(
    new Option('--with <parts>', `also start these, with commas between: ${controllers.join(', ')}`)
      .default([], 'none')
      .argParser((text) => text.split(',').map(controllerOf)),
  )
  .addOption(new Option('--nodes <count>', 'how many nodes, with size node').argParser(nodeCount).default(1))
  .option('--no-gang-scheduling', 'without the PodGroup API, as clusters before 1.36 and with default settings are')
  .option('--foreground', 'stay until Ctrl-C or until the end of standard input, and end the cluster then', false)
  .action(async (size: Size, { name, with: parts, nodes, foreground, gangScheduling }: UpOptions) => {
    const startMs = Date.now();
    const owner = foreground ? 'lifeline' : 'detached';
    const common = { ...(name ? { name } : {}), gangScheduling, owner } as const;
    const { access, stop } = await supervise(size === 'node' ? { ...common, nodes } : { ...common, with: parts }, say);
    say(`${access.name} is up after ${((Date.now() - startMs) / 1000).toFixed(1)} s at ${access.url}`);
    console.log(access.kubeconfig);
    if (!foreground) process.exit();
    await new Promise<void>((done) => {
      process.stdin.resume().once('end', done);
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => done());
    });
    await stop();
    process.exit();
  });

interface UpOptions {
  readonly name?: string;
  readonly with: readonly Controller[];
  readonly nodes: number;
  readonly gangScheduling: boolean;
  readonly foreground: boolean;
}

/** Each takes an address, and memory. */
const maxNodes = 8;

function nodeCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > maxNodes) throw new Error(`--nodes must be 1 to ${maxNodes}; got ${text}`);
  return count;
}

function controllerOf(text: string): Controller {
  const found = controllers.find((controller) => controller === text);
  if (!found) throw new Error(`there is no ${text}; there are ${controllers.join(', ')}`);
  return found;
}

program
  .command('down')
  .description('stop a cluster and remove what it left')
  .argument('[name]', 'may be left out when there is only one')
  .option('--all', 'stop every cluster of this user', false)
  .action(async (name: string | undefined, { all }: { all: boolean }) => {
    const running = runningClusters();
    const chosen = all ? running : [only(running, name)];
    for (const { supervisor } of chosen) process.kill(supervisor.pid, 'SIGTERM');
    for (const { access, supervisor } of chosen) {
      await until(`end of ${access.name}`, async () => !isAlive(supervisor));
      say(`${access.name} is down`);
    }
  });

program
  .command('status')
  .description('list the clusters that run, and what is built')
  .argument('[name]', 'only this one')
  .option('--kubeconfig', 'print only the path of the kubeconfig', false)
  .action((name: string | undefined, { kubeconfig }: { kubeconfig: boolean }) => {
    const running = runningClusters();
    if (kubeconfig) {
      console.log(only(running, name).access.kubeconfig);
      return;
    }
    const shown: ClusterAccess[] = name ? [only(running, name).access] : running.map(({ access }) => access);
    for (const access of shown) console.log(`${access.name}\t${access.size}\t${access.url}\t${access.kubeconfig}`);
    if (shown.length === 0) console.log('no cluster runs');
    const lacking = missing(Object.keys(components) as ComponentName[]);
    if (!name) console.log(lacking.length === 0 ? 'all programs are built' : `not built yet: ${lacking.join(', ')}`);
  });

function only<T extends { access: ClusterAccess }>(running: readonly T[], name: string | undefined): T {
  const [first, ...others] = name ? running.filter(({ access }) => access.name === name) : running;
  if (!first) throw new Error(`${name ? `no cluster named ${name}` : 'no cluster'} runs; start one with hack/cluster up api`);
  if (others.length > 0) throw new Error(`say which: ${running.map(({ access }) => access.name).join(', ')}`);
  return first;
}

try {
  await program.parseAsync();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
