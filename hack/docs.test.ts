// The documents tell the truth: their manifests are valid, their links and named tests exist, their commands are commands.
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatManifestFault, readManifests } from '#operator/kube/manifest.ts';
import { isWindlassError } from '#runtime/api/errors.ts';
import { plan } from '../bin/plan/command.ts';

const root = resolve(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const documents = ['README.md', 'charts/windlass/README.md', ...globSync('docs/*.md', { cwd: root })];
const blocks = (path: string, language: string) =>
  [...read(path).matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map((match) => match[1] ?? '');

describe('documents', () => {
  it('show the quickstart as it is', () => {
    const example = read('examples/quickstart.yaml').replace(/^#.*\n/gm, '');
    expect(blocks('README.md', 'yaml')).toContain(example);
  });

  it.each([
    ...documents.flatMap((path) => blocks(path, 'yaml').map((text, index) => [`${path} #${index + 1}`, text])),
    ...globSync('examples/*.yaml', { cwd: root }).map((path) => [path, read(path)]),
  ])('hold valid manifests: %s', (name, text) => {
    expect(readManifests(text ?? '', name ?? '').faults.map(formatManifestFault)).toEqual([]);
  });

  it('keep the job of the quickstart at 15 lines or fewer', () => {
    const [job = ''] = read('examples/quickstart.yaml')
      .replace(/^#.*\n/gm, '')
      .split('---');
    expect(job.trim().split('\n').length).toBeLessThanOrEqual(15);
  });

  it.each(documents)('link to files that exist: %s', (path) => {
    const links = [...read(path).matchAll(/\]\(([^)#:]+)(#[^)]*)?\)/g)].map((match) => match[1] ?? '');
    expect(links.filter((link) => !existsSync(join(root, dirname(path), link)))).toEqual([]);
  });

  it('name tests that exist', () => {
    const named = [...read('docs/parity.md').matchAll(/`((?:crds|hack|kernels|operator|runtime|tests)\/[^`]*)`/g)].map(
      (match) => match[1] ?? '',
    );
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('name npm scripts and commands that exist', () => {
    const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts);
    const text = documents.map(read).join('\n');
    const used = [...text.matchAll(/npm run ([a-z0-9:-]+)/g)].map((match) => match[1] ?? '');
    expect(used.filter((script) => !scripts.includes(script))).toEqual([]);
    const executable = ['bin/commands.ts', 'bin/verbs.ts'].map(read).join('\n');
    const commands = [...text.matchAll(/windlass ([a-z]+)(?: -|[^a-z ]| FILE)/g)].map((match) => match[1] ?? '');
    expect(commands.length).toBeGreaterThan(5);
    expect(commands.filter((command) => !executable.includes(`.command('${command}'`))).toEqual([]);
  });

  it('show only options and files that exist to those who copy a command', () => {
    const executable = ['bin/commands.ts', 'bin/verbs.ts'].map(read).join('\n');
    const lines = documents.flatMap((path) => blocks(path, 'sh').flatMap((block) => block.split('\n')));
    const commands = lines.map((line) => line.replace(/ #.*/, '')).filter((line) => line.startsWith('bin/windlass '));
    expect(commands.length).toBeGreaterThan(5);
    for (const command of commands) {
      for (const option of command.match(/(?<= )--?[a-z]+/g) ?? [])
        expect(executable, command).toMatch(new RegExp(`${option}\\b`));
      for (const file of command.match(/examples\/\S+/g) ?? []) expect(globSync(file, { cwd: root }), command).not.toEqual([]);
    }
  });

  it('give every dependency its line', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, object>;
    const text = read('docs/dependencies.md');
    expect(Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('docs/parallelism.md', () => {
  const path = 'docs/parallelism.md';
  const manifest = blocks(path, 'yaml')[0] ?? '';
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'wl-docs-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  async function planOf(text: string): Promise<string> {
    const file = join(folder, 'job.yaml');
    writeFileSync(file, text);
    const written: string[] = [];
    try {
      await plan({
        files: [file],
        output: 'text',
        schedule: false,
        svg: undefined,
        trace: undefined,
        scheduleCsv: undefined,
        write: (part) => written.push(part),
      });
    } catch (error) {
      if (!isWindlassError(error)) throw error;
      return `error ${error.code}: ${error.message.replaceAll(`${folder}/`, '')}\n`;
    }
    return written.join('');
  }

  it('shows the first job of its example as it is', () => {
    expect(
      read('examples/parallel.yaml')
        .replace(/^#.*\n/gm, '')
        .split('---\n')[0],
    ).toBe(manifest);
  });

  it('shows a schedule of one’s own that can run, and how one is refused that can not', async () => {
    const own = blocks(path, 'yaml').find((text) => text.includes('scheduleCsv')) ?? '';
    expect(await planOf(own)).toContain('schedule of its own (1f1b ahead), 2 stages on 2 ranks');
    const circle = own.replace('F0.0,F0.1,F0.2,B0.0', 'B0.0,F0.0,F0.1,F0.2');
    expect(blocks(path, 'text')).toContain(await planOf(circle));
  });

  it('shows what the plan of its example says, in 80 columns, and how a layout is refused', async () => {
    const shown = await planOf(manifest);
    expect(blocks(path, 'text')).toContain(shown);
    for (const line of shown.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(blocks(path, 'text')).toContain(await planOf(manifest.replace('tensor: 2 }', 'tensor: 4 }')));
  });
});
