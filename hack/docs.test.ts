// The documents tell the truth: their manifests are valid, their links and named tests exist, their commands are commands.
import { globSync, readFileSync, existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatManifestFault, readManifests } from '#operator/kube/manifest.ts';

const root = resolve(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const documents = ['README.md', ...globSync('docs/*.md', { cwd: root })];
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
    const used = [...text.matchAll(/npm run ([a-z:-]+)/g)].map((match) => match[1] ?? '');
    expect(used.filter((script) => !scripts.includes(script))).toEqual([]);
    const executable = read('bin/windlass.ts');
    const commands = [...text.matchAll(/bin\/windlass ([a-z]+)/g)].map((match) => match[1] ?? '');
    expect(commands.length).toBeGreaterThan(5);
    expect(commands.filter((command) => !executable.includes(`.command('${command}'`))).toEqual([]);
  });

  it('give every dependency its line', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, object>;
    const text = read('docs/dependencies.md');
    expect(Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});
