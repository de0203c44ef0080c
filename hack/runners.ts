// Runs the test runners with their output streamed, and reads from their reports how many tests passed and failed.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

export type Counts = { readonly passed: number; readonly failed: number };

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

/** The vitest projects of `npm test`, or what `args` select. Builds the servers that the project `cluster` talks to, where no run before has: it takes minutes. */
export async function runVitest(args: readonly string[] = []): Promise<Counts> {
  const projects = args.flatMap((arg, index) =>
    arg === '--project' ? [args[index + 1]] : (arg.match(/^--project=(.*)/)?.slice(1) ?? []),
  );
  // Whole clusters take longer than all the rest: `npm run e2e` is for them.
  const selected = projects.length === 0 ? ['--project=!nodes', ...args] : args;
  // A build that fails says why here, and is counted where the project can't start.
  if (projects.length === 0 || projects.includes('cluster'))
    await run('hack/cluster', ['build', '--quiet', 'api', 'nats-server', 'helm']);
  const report = freshReport('vitest.json');
  const code = await run('vitest', ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...selected]);
  return counted('vitest', code, () => {
    const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8')) as VitestReport;
    const failures = testResults.map(({ status, assertionResults }) => {
      const failed = assertionResults.filter((test) => test.status === 'failed').length;
      return failed === 0 && status === 'failed' ? 1 : failed;
    });
    return { passed: numPassedTests, failed: failures.reduce((sum, failed) => sum + failed, 0) };
  });
}

type VitestReport = {
  readonly numPassedTests: number;
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly { readonly status: string }[] }[];
};

/** Builds and runs the native tests of a build folder. Tests for an instruction set that this CPU lacks are skipped and not counted. */
export async function runCtest(folder: string, env: Record<string, string> = {}): Promise<Counts> {
  if ((await run('ninja', ['-C', folder, '--quiet'])) !== 0) return { passed: 0, failed: 1 };
  const report = freshReport(`ctest-${folder.replaceAll('/', '-')}.xml`);
  const code = await run(
    'ctest',
    ['--test-dir', folder, '--parallel', '2', '--output-on-failure', '--output-junit', report],
    env,
  );
  return counted(`ctest ${folder}`, code, () => {
    const suite = readFileSync(report, 'utf8').match(/<testsuite [^>]*>/)?.[0] ?? '';
    const attribute = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? Number.NaN);
    const left = attribute('skipped') + attribute('disabled');
    return { passed: attribute('tests') - attribute('failures') - left, failed: attribute('failures') };
  });
}

/** The native tests of the sanitizer builds, which `hack/setup --sanitizers` makes. */
export async function runSanitizers(): Promise<Counts[]> {
  return [
    await runCtest('build/asan', { ASAN_OPTIONS: 'detect_stack_use_after_return=1', UBSAN_OPTIONS: 'print_stacktrace=1' }),
    await runCtest('build/tsan', { TSAN_OPTIONS: 'halt_on_error=1', WL_THREADS: '4' }),
  ];
}

/** A runner that ends badly without a failed test, leaves no report, or runs no test counts as one failure. */
function counted(name: string, code: number, read: () => Counts): Counts {
  let counts: Counts;
  try {
    counts = read();
  } catch (error) {
    console.log(`${name}: no report (exit code ${code}): ${error instanceof Error ? error.message : String(error)}`);
    return { passed: 0, failed: 1 };
  }
  if (counts.failed > 0 || (code === 0 && counts.passed > 0)) return counts;
  console.log(`${name}: exit code ${code}, ${counts.passed} tests passed and none failed`);
  return { passed: counts.passed, failed: 1 };
}

/** Adds up, prints the closing line and sets the exit code. */
export function close(all: readonly Counts[]): void {
  const passed = all.reduce((sum, counts) => sum + counts.passed, 0);
  const failed = all.reduce((sum, counts) => sum + counts.failed, 0);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

function freshReport(name: string): string {
  mkdirSync(reports, { recursive: true });
  const path = join(reports, name);
  rmSync(path, { force: true });
  return path;
}
