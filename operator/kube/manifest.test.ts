import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatManifestFault, readManifests } from './manifest.ts';

const good = `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: {name: moby}
spec:
  model: {family: llama, config: {hiddenSize: 192, layers: 6, heads: 6}}
  data: {uri: sample://moby-dick, tokenizer: {train: {vocabularySize: 4096}}}
  task:
    pretrain: {steps: 400, batch: {sequences: 16, length: 256}, optimizer: {learningRate: 3e-3}}
  output: {model: moby}
---
apiVersion: windlass.dev/v1alpha1
kind: InferenceService
metadata: {name: moby}
spec: {model: {name: moby}}
`;

const said = (text: string) => readManifests(text, 'job.yaml').faults.map(formatManifestFault).join('\n');

describe('manifests', () => {
  it('come as objects with defaults, each with its line', () => {
    const { objects, faults } = readManifests(good, 'job.yaml');
    expect(faults).toEqual([]);
    expect(objects.map(({ object, line }) => [object.kind, line])).toEqual([
      ['TrainingJob', 1],
      ['InferenceService', 11],
    ]);
    expect(objects[1]?.object.spec).toMatchObject({ port: 8080, replicas: 1 });
  });

  it('say line, column and path of every fault, in every document', () => {
    expect(said(good.replace('steps: 400', 'stpes: 400').replace('{name: moby}}', '{nmae: moby}}'))).toMatchInlineSnapshot(`
      "job.yaml:8:5: spec.task.pretrain.steps: is required: a number
      job.yaml:8:16: spec.task.pretrain.stpes: unknown field, did you mean steps?; allowed here: steps, batch, seed, optimizer, evaluation, samples
      job.yaml:14:16: spec.model.nmae: unknown field, did you mean name?; allowed here: name, version, uri, fromTrainingJob, digest, secretRef
      job.yaml:14:8: spec.model: set exactly one of name, version, uri, fromTrainingJob"
    `);
  });

  it('accept the numbers of YAML, comments and empty documents', () => {
    expect(said(`# a job\n---\n${good}---\n`)).toBe('');
  });

  const refused: [string, string][] = [
    ['wrong kind', 'apiVersion: windlass.dev/v1alpha1\nkind: TrainJob\n'],
    ['wrong version', 'kind: Model\napiVersion: windlass.dev/v1\n'],
    ['no version', 'kind: Model\n'],
    ['a list', '- 1\n- 2\n'],
    ['a duplicate key', good.replace('  output:', '  task: {}\n  output:')],
    ['bad indentation', good.replace('  task:', ' task:')],
    ['the same object twice', `${good}---\n${good.split('---\n')[1]}`],
    ['an unknown anchor', 'kind: *x\n'],
    ['a missing name', good.replace('{name: moby}\nspec:\n', '{}\nspec:\n')],
    [
      'an alias bomb',
      `a: &a [x]\n${[...'bcdefghij'].map((key, i) => `${key}: &${key} [${`*${'abcdefghi'[i]},`.repeat(9)}]`).join('\n')}\nkind: *j\n`,
    ],
  ];
  it('refuse what is wrong, naming the place', () => {
    const all = Object.fromEntries(refused.map(([name, text]) => [name, said(text)]));
    expect(all).toMatchInlineSnapshot(`
      {
        "a duplicate key": "job.yaml:9:3: not YAML: Map keys must be unique",
        "a list": "job.yaml:1:1: must be an object with apiVersion, kind, metadata and spec",
        "a missing name": "job.yaml:3:1: metadata.name: is required: text",
        "an alias bomb": "job.yaml:1:1: not YAML that can be read: Excessive alias count indicates a resource exhaustion attack",
        "an unknown anchor": "job.yaml:1:1: not YAML that can be read: Unresolved alias (the anchor must be set before the alias): x",
        "bad indentation": "job.yaml:7:1: not YAML: All mapping items must start at the same column
      job.yaml:9:1: not YAML: All mapping items must start at the same column",
        "no version": "job.yaml:1:1: apiVersion: must be windlass.dev/v1alpha1; it is missing",
        "the same object twice": "job.yaml:16:1: metadata.name: InferenceService moby is already on line 11; give it another name",
        "wrong kind": "job.yaml:2:1: kind: unknown kind "TrainJob"; known kinds: TrainingJob, InferenceService, Model, ModelVersion, TrainingRuntime, ClusterTrainingRuntime",
        "wrong version": "job.yaml:2:1: apiVersion: must be windlass.dev/v1alpha1; got "windlass.dev/v1"",
      }
    `);
  });

  it('never throw, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc
            .tuple(fc.nat(good.length), fc.string({ maxLength: 3 }))
            .map(([at, text]) => good.slice(0, at) + text + good.slice(at + 1)),
        ),
        (text) => {
          for (const fault of readManifests(text, 'job.yaml').faults) expect(fault.line).toBeGreaterThan(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});
