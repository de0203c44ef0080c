// What the command line says to those who ask for help or make a mistake.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { cleanUp, job, project, service, windlass, writeManifests } from './harness.ts';

const folder = project(job(), service());
afterAll(cleanUp);

it('lint accepts what is right', async () => {
  expect(await windlass(folder, 'lint', 'manifest.yaml')).toMatchInlineSnapshot(`
    {
      "code": 0,
      "output": "manifest.yaml:1: TrainingJob tiny is valid
    manifest.yaml:12: InferenceService tiny is valid
    ",
    }
  `);
});

it('lint names every fault with file, line, column and path', async () => {
  writeManifests(
    folder,
    job().replace('steps: 20', 'step: 20'),
    job({ name: 'types' }).replace('layers: 2', 'layers: two'),
    job({ name: 'range' }).replace('vocabularySize: 300', 'vocabularySize: 3').replace('heads: 2', 'heads: 0'),
    service('twice').replace('port: 8080', 'port: 1, port: 2'),
    service('kind').replace('InferenceService', 'InferenceServise'),
    service('version').replace('v1alpha1', 'v1'),
  );
  expect(await windlass(folder, 'lint', 'manifest.yaml')).toMatchInlineSnapshot(`
    {
      "code": 64,
      "output": "error WL_MANIFEST_INVALID: manifest.yaml:8:5: spec.task.pretrain.steps: is required: a number
    manifest.yaml:8:17: spec.task.pretrain.step: unknown field, did you mean steps?; allowed here: steps, batch, seed, optimizer, evaluation, samples
    manifest.yaml:16:53: spec.model.config.layers: must be a number; got "two"
    manifest.yaml:27:64: spec.model.config.heads: must be at least 1; got 0
    manifest.yaml:27:64: spec.model.config.heads: heads must divide hiddenSize
    manifest.yaml:28:47: spec.data.tokenizer.train.vocabularySize: must be at least 257; got 3
    manifest.yaml:37:42: not YAML: Map keys must be unique
    manifest.yaml:40:1: kind: unknown kind "InferenceServise", did you mean InferenceService?; known kinds: TrainingJob, InferenceService, Model, ModelVersion, TrainingRuntime, ClusterTrainingRuntime
    manifest.yaml:44:1: apiVersion: must be windlass.dev/v1alpha1; got "windlass.dev/v1"
      Mend the field at the path and line given; \`windlass lint FILE\` checks without running.
    ",
    }
  `);
});

it('lint says what is no YAML, empty or missing', async () => {
  writeFileSync(join(folder, 'broken.yaml'), 'a: [1, 2\nb: 3\n');
  writeFileSync(join(folder, 'empty.yaml'), '# nothing\n');
  for (const file of ['broken.yaml', 'empty.yaml', 'missing.yaml']) {
    const { code, output } = await windlass(folder, 'lint', file);
    expect(code).toBe(64);
    expect(output).toMatch(new RegExp(`^error WL_[A-Z_]+: ${file}[:,]`));
  }
});

it('every command explains itself', async () => {
  const { output: overview } = await windlass(folder, '--help');
  const names = [...overview.matchAll(/^ {2}([a-z]+)(?:\|[a-z]+)? .*/gm)]
    .map(([, name]) => name)
    .filter((name) => name !== 'windlass');
  const verbs = ['status', 'logs', 'chat', 'report', 'pause', 'resume', 'restart', 'explain'];
  const commands = ['run', ...verbs, 'stop', 'operator', 'lint', 'plan', 'export', 'quantize', 'completion'];
  expect(names).toEqual([...commands, 'help']);
  for (const name of commands) {
    const { code, output } = await windlass(folder, name, '--help');
    expect(output).toMatch(new RegExp(`^Usage: windlass ${name}(\\|get)? `));
    expect(code).toBe(0);
  }
});

it.each([
  [['fly'], "error: unknown command 'fly'"],
  [['statsu'], '(Did you mean status?)'],
  [['status', '--stat', 'x'], '(Did you mean --state?)'],
  [['status', '-o', 'xml'], 'Allowed choices are table, json, yaml, wide, name'],
  [['run'], "required option '-f, --file <file...>' not specified"],
  [['completion', 'tcsh'], 'WL_USAGE: no completion for tcsh; there are bash, zsh and fish'],
])('%j is refused with %s', async (args, expected) => {
  const { code, output } = await windlass(folder, ...args);
  expect(output).toContain(expected);
  expect(code).toBe(64);
});

it('status, chat and stop say when there is nothing', async () => {
  for (const command of [['status'], ['chat', '-m', 'x'], ['stop']]) {
    const { code, output } = await windlass(folder, ...command, '--state', 'nowhere');
    expect(output).toMatch(/^error WL_NOT_RUNNING: /);
    expect(code).toBe(64);
  }
});

it('bash and zsh completion are scripts that bash can parse, and bash completes commands and options', async () => {
  for (const shell of ['bash', 'zsh']) {
    const { output } = await windlass(folder, 'completion', shell);
    expect(spawnSync('bash', ['-n'], { input: output }).status).toBe(0);
  }
  const { output: script } = await windlass(folder, 'completion', 'bash');
  const complete = (words: string) =>
    spawnSync('bash', [
      '-c',
      `${script}\nCOMP_WORDS=(${words}); COMP_CWORD=$((\${#COMP_WORDS[@]}-1)); _windlass; echo "\${COMPREPLY[@]}"`,
    ])
      .stdout.toString()
      .trim();
  expect(complete('windlass st')).toBe('status stop');
  expect(complete('windlass export --t')).toBe('--to --type');
});
