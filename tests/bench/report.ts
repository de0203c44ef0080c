// docs/performance.md from the lines that benches have kept: tables between markers, everything else as it is written by hand.
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { BenchLine, BenchRow } from './line.ts';
import { figure } from './print.ts';

const docs = resolve(import.meta.dirname, '../../docs');
const keptFile = join(docs, 'performance.jsonl');
const reportFile = join(docs, 'performance.md');

/** Adds a result to those that are kept. */
export async function keepLine(line: BenchLine): Promise<void> {
  await appendFile(keptFile, `${JSON.stringify(line)}\n`);
}

/** Writes the tables anew. Throws where a kept line has no place in the page. */
export async function writeReport(): Promise<void> {
  const kept = (await readFile(keptFile, 'utf8')).split('\n').filter(Boolean);
  const page = withTables(
    await readFile(reportFile, 'utf8'),
    kept.map((line) => JSON.parse(line) as BenchLine),
  );
  await writeFile(`${reportFile}.tmp`, page);
  await rename(`${reportFile}.tmp`, reportFile);
}

const block = /(<!-- bench: ([a-z]+) -->\n)[^]*?(<!-- end of bench -->)/g;

/** The page with each block `<!-- bench: NAME -->` filled from the newest lines of that bench. */
export function withTables(page: string, lines: readonly BenchLine[]): string {
  const newest = newestOf(lines);
  const placed = new Set<string>();
  const filled = page.replaceAll(block, (_, begin: string, bench: string, end: string) => {
    placed.add(bench);
    const own = newest.filter((line) => line.bench === bench);
    const tables = own.length === 0 ? `Not measured yet: \`npm run bench -- ${bench} --keep\`.\n` : own.map(table).join('\n');
    return `${begin}\n${tables}\n${end}`;
  });
  const homeless = newest.find(({ bench }) => !placed.has(bench));
  if (homeless) throw new Error(`the page has no block <!-- bench: ${homeless.bench} -->, and no <!-- end of bench --> after it`);
  return filled;
}

/** The last one of each bench, subject, class of instructions, processor and kind of rows, in the order in which these first came. */
function newestOf(lines: readonly BenchLine[]): BenchLine[] {
  const newest = new Map<string, BenchLine>();
  for (const line of lines)
    newest.set([line.bench, line.subject, line.isa, line.cpu, line.threads, line.rows[0]?.name].join('\n'), line);
  return [...newest.values()];
}

function table(line: BenchLine): string {
  const { fma, read, copy } = line.limits;
  // The bench before makes a load of its own threads.
  const isLoaded = line.load > line.threads + 1;
  const versions = Object.entries(line.versions).map(([name, version]) => `${name} ${version}`);
  const conditions = [
    `${line.threads} threads`,
    `load ${line.load.toFixed(1)}${isLoaded ? ' (loaded: only ratios mean something)' : ''}`,
    `FMA ${figure(fma)} GFLOP/s, reading ${figure(read)} GB/s, copying ${figure(copy)} GB/s`,
    `${line.rounds} rounds`,
    ...versions,
    line.at.slice(0, 10),
  ];
  return [
    `**${line.subject}, ${line.isa}, ${line.cpu}** (our kernels: ${line.kernels})`,
    '',
    '| | ours | peer | ratio | by processor time | of the limit |',
    '|---|---|---|---|---|---|',
    ...line.rows.map(cells),
    '',
    `${conditions.join('; ')}.`,
    ...(line.notes ?? []).map((note) => `${note[0]?.toUpperCase()}${note.slice(1)}.`),
    '',
  ].join('\n');
}

function cells({ name, unit, ours, peer, peerName, ratio, cpuRatio, limit, percentOfLimit }: BenchRow): string {
  const times = (value: number | undefined) => (value === undefined ? '' : `${value.toFixed(2)}x`);
  return `| ${[
    name,
    `${figure(ours)} ${unit}`,
    peer === undefined ? '' : `${figure(peer)}${peerName === undefined ? '' : ` (${peerName})`}`,
    times(ratio),
    times(cpuRatio),
    percentOfLimit === undefined ? '' : `${percentOfLimit.toFixed(0)} % of ${limit}`,
  ].join(' | ')} |`;
}
