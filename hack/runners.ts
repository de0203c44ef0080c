// Runs the test runners with their output streamed, and reads from their reports how many tests passed, and which failed.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';

/** `notes`: what the end of the output repeats: each failure, and each test that passed only when it was tried again. */
export type Counts = { readonly passed: number; readonly failed: number; readonly notes?: readonly string[] };

const root = resolve(import.meta.dirname, '..');
const reports = join(root, 'build/reports');

/** Runs a command in the root of the repository, with its output passed through. Resolves with the exit code; a signal counts as 1. */
export function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<number> {
  return new Promise((done, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`, ...env },
    });
    child.once('error', reject);
    child.once('close', (code) => done(code ?? 1));
  });
}

/**
 * What waits for processes, sockets and clocks, and is tried once more, alone, where it fails: a machine that stood still for a minute is
 * no fault of the code. What passes only then is named at the end. What computes gets no second try.
 */
const secondTry = {
  vitest: new RegExp(
    '^(operator|bin|hack|runtime/(agent|api|remote|serve)|tests/(cluster|e2e|bench))/|' +
      '^tests/native/(disk-full|encryption|kill|network|processes|save-kill|servers)\\.',
  ),
  ctest: /^comm-/,
};

/**
 * The vitest projects of `npm test`, or what `args` select. Builds what the project `cluster` takes, where no run before has: that takes
 * minutes.
 */
export async function runVitest(args: readonly string[] = []): Promise<Counts> {
  const projects = args.flatMap((arg, index) =>
    arg === '--project' ? [args[index + 1]] : (arg.match(/^--project=(.*)/)?.slice(1) ?? []),
  );
  // Whole clusters take longer than all the rest: `npm run e2e` is for them.
  const selected = projects.length === 0 ? ['--project=!nodes', ...args] : args;
  // A build that fails says why here, and is counted where the project can't start.
  if (projects.length === 0 || projects.includes('cluster')) await run('hack/cluster', ['build', '--quiet', 'tests']);
  const first = await vitestOnce(selected);
  if (first instanceof Error) return noReport('vitest', first);
  const again = first.files.filter((file) => failuresOf(file).length > 0 && secondTry.vitest.test(pathOf(file)));
  if (again.length === 0) return counted('vitest', first.code, vitestCounts(first.files));
  console.log(`\n== a second try: ${again.map(pathOf).join(' ')}`);
  const second = await vitestOnce(['--project=!nodes', ...again.map(pathOf)]);
  if (second instanceof Error) return noReport('the second try', second);
  return counted('vitest', second.code, vitestCounts(first.files, second.files));
}

type VitestFile = {
  /** The absolute path. */
  readonly name: string;
  readonly status: string;
  readonly message: string;
  readonly assertionResults: readonly {
    readonly status: string;
    readonly fullName: string;
    readonly failureMessages: readonly string[] | null;
  }[];
};

async function vitestOnce(
  args: readonly string[],
): Promise<{ readonly code: number; readonly files: readonly VitestFile[] } | Error> {
  const report = freshReport('vitest.json');
  const code = await run('vitest', ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args]);
  try {
    const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as { readonly testResults: readonly VitestFile[] };
    return { code, files: testResults };
  } catch (error) {
    return new Error(`exit code ${code}`, { cause: error });
  }
}

function pathOf(file: VitestFile): string {
  return relative(root, file.name);
}

/** A line and the beginning of the message for each test that failed; one for a file that failed outside its tests. */
function failuresOf(file: VitestFile): string[] {
  const failed = file.assertionResults
    .filter((test) => test.status === 'failed')
    .map((test) => `${pathOf(file)} > ${test.fullName}\n${opening(test.failureMessages?.join('\n') ?? '')}`);
  return failed.length === 0 && file.status === 'failed' ? [`${pathOf(file)}\n${opening(file.message)}`] : failed;
}

/** The counts of vitest's report, with the files of a second try in the place of those of the first. Exported for the test. */
export function vitestCounts(first: readonly VitestFile[], second: readonly VitestFile[] = []): Counts {
  const tried = new Set(second.map((file) => file.name));
  const files = [...first.filter((file) => !tried.has(file.name)), ...second];
  const failures = files.flatMap(failuresOf);
  const unsteady = first
    .filter((file) => tried.has(file.name))
    .flatMap(failuresOf)
    .filter((failure) => !failures.some((other) => title(other) === title(failure)));
  const passed = files.flatMap((file) => file.assertionResults).filter((test) => test.status === 'passed').length;
  return {
    passed,
    failed: failures.length,
    notes: [
      ...unsteady.map((failure) => `passed only at the second try: ${failure}`),
      ...failures.map((failure) => `failed: ${failure}`),
    ],
  };
}

function title(failure: string): string {
  return failure.split('\n', 1)[0] ?? '';
}

function opening(message: string): string {
  return message.split('\n').slice(0, 20).join('\n');
}

/** Builds and runs the native tests of a build folder. Tests for an instruction set that this CPU lacks are skipped and not counted. */
export async function runCtest(folder: string, env: Record<string, string> = {}): Promise<Counts> {
  if ((await run('ninja', ['-C', folder, '--quiet'])) !== 0) return { passed: 0, failed: 1, notes: [`${folder} was not built`] };
  const first = await ctestOnce(folder, env, []);
  if (first instanceof Error) return noReport(`ctest ${folder}`, first);
  const again = ctestFailures(first.report).flatMap(({ name }) => (secondTry.ctest.test(name) ? [name] : []));
  if (again.length === 0) return counted(`ctest ${folder}`, first.code, ctestCounts(folder, first.report));
  console.log(`\n== a second try: ${again.join(' ')}`);
  const second = await ctestOnce(folder, env, ['--tests-regex', `^(${again.join('|')})$`]);
  if (second instanceof Error) return noReport('the second try', second);
  return counted(`ctest ${folder}`, second.code, ctestCounts(folder, first.report, second.report));
}

async function ctestOnce(
  folder: string,
  env: Record<string, string>,
  args: readonly string[],
): Promise<{ readonly code: number; readonly report: string } | Error> {
  const report = freshReport(`ctest-${folder.replaceAll('/', '-')}.xml`);
  const options = ['--test-dir', folder, '--parallel', '2', '--output-on-failure', '--output-junit', report];
  const code = await run('ctest', [...options, ...args], env);
  try {
    return { code, report: readFileSync(report, 'utf8') };
  } catch (error) {
    return new Error(`exit code ${code}`, { cause: error });
  }
}

/** The counts of a JUnit report of ctest, and of that of a second try of some that failed. Exported for the test. */
export function ctestCounts(folder: string, first: string, second?: string): Counts {
  const attribute = (name: string): number => {
    const suite = first.match(/<testsuite [^>]*>/)?.[0] ?? '';
    return Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? Number.NaN);
  };
  const ran = attribute('tests') - attribute('skipped') - attribute('disabled');
  const stillFailed = second === undefined ? [] : ctestFailures(second);
  const isMended = ({ name }: CtestFailure): boolean =>
    second?.includes(`<testcase name="${name}"`) === true && !stillFailed.some((other) => other.name === name);
  const failures = ctestFailures(first);
  const failed = failures.filter((failure) => !isMended(failure));
  return {
    passed: ran - failed.length,
    failed: failed.length,
    notes: failures.map(
      (failure) =>
        `${isMended(failure) ? 'passed only at the second try' : 'failed'}: ${folder}: ${failure.name}\n${failure.output}`,
    ),
  };
}

/** `output`: its last lines. */
type CtestFailure = { readonly name: string; readonly output: string };

function ctestFailures(report: string): CtestFailure[] {
  return report
    .split('<testcase ')
    .slice(1)
    .filter((test) => test.includes('<failure'))
    .map((test) => {
      const output = /<system-out>([^]*?)<\/system-out>/.exec(test)?.[1] ?? '';
      return { name: /name="([^"]*)"/.exec(test)?.[1] ?? '', output: output.trim().split('\n').slice(-20).join('\n') };
    });
}

/** The native tests of the sanitizer builds, which `hack/setup --sanitizers` makes. */
export async function runSanitizers(): Promise<Counts[]> {
  return [
    await runCtest('build/asan', { ASAN_OPTIONS: 'detect_stack_use_after_return=1', UBSAN_OPTIONS: 'print_stacktrace=1' }),
    await runCtest('build/tsan', { TSAN_OPTIONS: 'halt_on_error=1', WL_THREADS: '4' }),
  ];
}

/** A runner that ends badly without a failed test, or runs no test, counts as one failure. */
function counted(name: string, code: number, counts: Counts): Counts {
  if (counts.failed > 0 || (code === 0 && counts.passed > 0)) return counts;
  const note = `${name}: exit code ${code}, ${counts.passed} tests passed and none failed`;
  return { passed: counts.passed, failed: 1, notes: [...(counts.notes ?? []), note] };
}

function noReport(name: string, error: Error): Counts {
  return { passed: 0, failed: 1, notes: [`${name}: no report (${error.message}): ${String(error.cause)}`] };
}

/** Repeats what failed, adds up, prints the closing line and sets the exit code. */
export function close(all: readonly Counts[]): void {
  const passed = all.reduce((sum, counts) => sum + counts.passed, 0);
  const failed = all.reduce((sum, counts) => sum + counts.failed, 0);
  for (const note of all.flatMap((counts) => counts.notes ?? [])) console.log(`\n${note}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

function freshReport(name: string): string {
  mkdirSync(reports, { recursive: true });
  const path = join(reports, name);
  rmSync(path, { force: true });
  return path;
}
