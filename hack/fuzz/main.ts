// npm run fuzz -- TARGET --seconds N: feeds a reader of untrusted bytes wrong ones, and keeps the first that it does not refuse properly.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Argument, Command, InvalidArgumentError } from 'commander';
import { fuzz } from './fuzz.ts';
import { targets } from './targets.ts';
import type { TargetName } from './targets.ts';

const names = Object.keys(targets) as TargetName[];
const findings = resolve(import.meta.dirname, '../../build/fuzz');

const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1.');
  return value;
};

const command = new Command('npm run fuzz --')
  .description('Feeds a reader of untrusted bytes wrong ones, and keeps the first that it does not refuse properly.')
  .addArgument(new Argument('<target>', 'what is fuzzed').choices(names))
  .option('--seconds <n>', 'how long', number, 60)
  .option('--seed <n>', 'which inputs: the same seed gives the same', number, 1)
  .parse();

const name = command.args[0] as TargetName;
const { seconds, seed } = command.opts<{ seconds: number; seed: number }>();
const end = performance.now() + 1000 * seconds;
const target = await targets[name]();
try {
  const { inputs, taken, slowestMs, finding } = await fuzz(target, {
    inputs: Infinity,
    isOver: () => performance.now() > end,
    seed,
  });
  const peak = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(`${name}: ${inputs} inputs, ${taken} taken, slowest ${Math.round(slowestMs)} ms, peak memory ${peak} MiB`);
  if (finding) {
    mkdirSync(findings, { recursive: true });
    const file = join(findings, `${name}-${seed}-${inputs}`);
    writeFileSync(file, finding.input);
    console.log(finding.thrown);
    console.log(`${name}: the input is ${file}`);
    process.exitCode = 1;
  }
} finally {
  await target.close();
}
