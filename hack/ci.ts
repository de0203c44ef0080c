// What .ci/run does once a checkout is set up: the checks, each counted as a test, all tests, the sanitizers, and the grand total.
import { close, run, runCtest, runSanitizers, runVitest } from './runners.ts';
import type { Counts } from './runners.ts';

const checks = ['check', 'lint', 'format:check', 'dead-code', 'gen:check'];

async function runCheck(name: string): Promise<Counts> {
  console.log(`\n== npm run ${name}`);
  const code = await run('npm', ['run', '--silent', name]);
  console.log(`${name}: ${code === 0 ? 'passed' : `failed with exit code ${code}`}`);
  return code === 0
    ? { passed: 1, failed: 0 }
    : { passed: 0, failed: 1, notes: [`npm run ${name} failed with exit code ${code}`] };
}

const all: Counts[] = [];
for (const check of checks) all.push(await runCheck(check));
console.log('\n== tests');
all.push(await runVitest(), await runCtest('build/native'));
console.log('\n== sanitizers');
if ((await run('hack/setup', ['--sanitizers'])) === 0) {
  all.push(...(await runSanitizers()));
} else {
  all.push({ passed: 0, failed: 1, notes: ['the sanitizer builds failed'] });
}
close(all);
