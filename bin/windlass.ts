#!/usr/bin/env node
// The one executable: a process of a pod starts without the table of commands, which costs it a tenth of a second.
import { enableCompileCache } from 'node:module';
import { podCommands } from './pod-commands.ts';

// Every process of a pod or a local run compiles the same files: the second one starts in half the time. It is for what is imported from here on.
enableCompileCache();

const [name = '', ...others] = process.argv.slice(2);
const main = others.length === 0 ? podCommands.get(name) : undefined;
if (main) await main().catch(failed);
else await import('./commands.ts');

async function failed(thrown: unknown): Promise<void> {
  const { report } = await import('./report.ts');
  process.exitCode = report(thrown);
}
