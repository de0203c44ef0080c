import { describe, expect, it } from 'vitest';
import { formatFault, nearest, validate } from './faults.ts';
import type { Resource } from './resource.ts';
import { transitionFaults } from './resource.ts';
import { InferenceService, ModelVersion, TrainingJob, resources } from './v1alpha1/index.ts';

type Tree = Record<string, unknown>;

function job(change: (spec: Tree) => void = () => {}): Tree {
  const manifest = structuredClone(manifestOf(TrainingJob));
  change(manifest['spec'] as Tree);
  return manifest;
}

function manifestOf(resource: Resource): Tree {
  return { apiVersion: resource.apiVersion, kind: resource.kind, ...resource.definition.example };
}

function faults(resource: Resource, raw: unknown): string[] {
  const result = validate(resource, raw);
  return result.ok ? [] : result.faults.map(formatFault);
}

const at = (spec: Tree, ...keys: string[]): Tree => keys.reduce((tree, key) => tree[key] as Tree, spec);

describe('manifests', () => {
  it('asks for no more guesses than a step has tokens', () => {
    const service = manifestOf(InferenceService);
    service['spec'] = { ...(service['spec'] as Tree), engine: { maxBatchedTokens: 16, speculativeTokens: 16 } };
    expect(faults(InferenceService, service)).toEqual([
      'spec.engine.speculativeTokens: must be less than maxBatchedTokens: one step checks all of them',
    ]);
  });

  it.each(resources.map((resource) => [resource.kind, resource] as const))('the example of %s is valid', (_, resource) => {
    expect(faults(resource, manifestOf(resource))).toEqual([]);
  });

  it('takes a field that is null for one that is absent, but not an entry of a list', () => {
    const emptied = validate(
      TrainingJob,
      job((spec) => Object.assign(spec, { suspend: null, podTemplate: { labels: { team: null } }, checkpoint: { keep: null } })),
    );
    if (!emptied.ok) throw new Error(emptied.faults.map(formatFault).join('\n'));
    expect(emptied.object.spec).toMatchObject({ suspend: false, podTemplate: { labels: {} }, checkpoint: { keep: 2 } });
    expect(
      faults(
        TrainingJob,
        job((spec) => (at(spec, 'task', 'pretrain')['steps'] = null)),
      ),
    ).toEqual(['spec.task.pretrain.steps: is required: a number']);
    expect(
      faults(
        TrainingJob,
        job((spec) => (spec['podTemplate'] = { tolerations: [null], stray: null })),
      ),
    ).toEqual([
      'spec.podTemplate.tolerations[0]: must be a map of fields; got null',
      expect.stringContaining('spec.podTemplate.stray: unknown field'),
    ]);
  });

  it('fills defaults in, at every depth', () => {
    const result = validate(TrainingJob, job());
    if (!result.ok) throw new Error('invalid');
    expect(result.object.spec).toMatchInlineSnapshot(`
      {
        "checkpoint": {
          "everySteps": 100,
          "keep": 2,
        },
        "data": {
          "field": "text",
          "heldOut": 0.05,
          "tokenizer": {
            "train": {
              "vocabularySize": 4096,
            },
          },
          "uri": "sample://moby-dick",
        },
        "faults": {
          "maxRestarts": 3,
          "nonFinite": "stop",
        },
        "model": {
          "config": {
            "dropout": 0,
            "heads": 6,
            "hiddenSize": 192,
            "layers": 6,
            "normEpsilon": 0.00001,
            "tieEmbeddings": true,
          },
          "family": "llama",
        },
        "output": {
          "model": "moby",
        },
        "parallelism": {
          "dataReplicate": 1,
          "dataShard": 1,
          "encryption": "none",
          "pipeline": 1,
          "reduceEveryGrain": false,
          "reshardAfterForward": true,
          "schedule": "1f1b",
          "sequenceParallel": false,
          "tensor": 1,
          "zero": 3,
        },
        "recompute": "none",
        "suspend": false,
        "task": {
          "pretrain": {
            "batch": {
              "grains": 1,
              "length": 256,
              "sequences": 16,
            },
            "optimizer": {
              "beta1": 0.9,
              "beta2": 0.95,
              "clipNorm": 1,
              "epsilon": 1e-8,
              "finalLearningRateRatio": 0.1,
              "learningRate": 0.003,
              "schedule": "cosine",
              "weightDecay": 0.1,
            },
            "seed": 0,
            "steps": 400,
          },
        },
      }
    `);
  });

  const cases: [string, (spec: Tree) => void][] = [
    ['unknown field', (spec) => (at(spec, 'task', 'pretrain')['step'] = 3)],
    ['unknown field at the top', (spec) => (spec['outptu'] = {})],
    ['wrong type', (spec) => (at(spec, 'task', 'pretrain')['steps'] = 'many')],
    ['fraction for a whole number', (spec) => (at(spec, 'task', 'pretrain')['steps'] = 1.5)],
    ['missing field', (spec) => delete at(spec, 'task', 'pretrain')['batch']],
    ['value out of a list', (spec) => (at(spec, 'model')['family'] = 'lama')],
    ['too small', (spec) => (at(spec, 'task', 'pretrain', 'batch')['length'] = 0)],
    ['bad quantity', (spec) => (spec['podTemplate'] = { resources: { limits: { memory: '4 gigs' } } })],
    ['forbidden pod setting', (spec) => (spec['podTemplate'] = { hostNetwork: true })],
    ['heads that do not divide', (spec) => (at(spec, 'model', 'config')['heads'] = 7)],
    ['family and from', (spec) => (at(spec, 'model')['from'] = '/models/x')],
    ['no task', (spec) => (spec['task'] = {})],
    ['no tokenizer', (spec) => delete at(spec, 'data')['tokenizer']],
    ['two tokenizers', (spec) => (at(spec, 'data', 'tokenizer')['uri'] = 'tokenizer.json')],
    [
      'a tokenizer from a server without a digest',
      (spec) => (at(spec, 'data')['tokenizer'] = { uri: 'https://x.example/t.json' }),
    ],
    ['a tokenizer of another kind', (spec) => (at(spec, 'data')['tokenizer'] = { uri: 'https://x.example/t.model' })],
    ['a digest of a tokenizer that is trained', (spec) => (at(spec, 'data', 'tokenizer')['digest'] = `sha256:${'0'.repeat(64)}`)],
    ['unfetchable data', (spec) => (at(spec, 'data')['uri'] = 's3://bucket/x')],
    ['data over http without a digest', (spec) => (at(spec, 'data')['uri'] = 'http://data.example/text.txt')],
    ['a folder on a server without a digest', (spec) => (at(spec, 'data')['uri'] = 'https://data.example/corpus/?v=1')],
    ['credentials in an address', (spec) => (at(spec, 'data')['uri'] = 'https://me:secret@data.example/text.txt')],
    ['a server that has something else', (spec) => (at(spec, 'data')['uri'] = 'https://data.example/text.zip')],
    ['a digest of a folder of the machine', (spec) => (at(spec, 'data')['digest'] = `sha256:${'0'.repeat(64)}`)],
    [
      'credentials in clear',
      (spec) =>
        Object.assign(at(spec, 'data'), {
          uri: 'http://data.example/text.txt',
          digest: `sha256:${'0'.repeat(64)}`,
          secretRef: { name: 'data' },
        }),
    ],
    ['a model from a server without a digest', (spec) => (spec['model'] = { from: 'https://models.example/moby/' })],
    ['a Secret for nothing', (spec) => (at(spec, 'output')['secretRef'] = { name: 'models' })],
    ['batch longer than the context', (spec) => (at(spec, 'model', 'config')['contextLength'] = 128)],
    [
      'llama switch on gpt2',
      (spec) => Object.assign(at(spec, 'model'), { family: 'gpt2', config: { hiddenSize: 8, layers: 1, heads: 1, kvHeads: 1 } }),
    ],
  ];
  it('say what is wrong, where, and what is allowed', () => {
    const said = Object.fromEntries(cases.map(([name, change]) => [name, faults(TrainingJob, job(change)).join(' | ')]));
    expect(said).toMatchInlineSnapshot(`
      {
        "a Secret for nothing": "spec.output.secretRef: secretRef needs uri: https://...",
        "a digest of a folder of the machine": "spec.data.digest: digest needs uri: https://...",
        "a digest of a tokenizer that is trained": "spec.data.tokenizer.digest: digest needs uri: https://...",
        "a folder on a server without a digest": "spec.data.digest: data over http, or from a folder on a server, needs digest: sha256:...",
        "a model from a server without a digest": "spec.model.digest: a model from a server needs digest: sha256:...",
        "a server that has something else": "spec.data.uri: must be sample://NAME, file:///PATH, a path, or https://HOST/PATH of a .txt, .jsonl, .tar, .tar.gz or .tgz file or of a folder, with / at the end; got "https://data.example/text.zip"",
        "a tokenizer from a server without a digest": "spec.data.tokenizer.digest: a tokenizer from a server needs digest: sha256:...",
        "a tokenizer of another kind": "spec.data.tokenizer.uri: must be a path, file:///PATH, or https://HOST/PATH of a .json or .gguf file or of a folder, with / at the end; got "https://x.example/t.model" | spec.data.tokenizer.digest: a tokenizer from a server needs digest: sha256:...",
        "bad quantity": "spec.podTemplate.resources.limits.memory: must be an amount such as 2, 500m or 4Gi; got "4 gigs"",
        "batch longer than the context": "spec.task.pretrain.batch.length: task.pretrain.batch.length must not exceed model.config.contextLength",
        "credentials in an address": "spec.data.uri: must be sample://NAME, file:///PATH, a path, or https://HOST/PATH of a .txt, .jsonl, .tar, .tar.gz or .tgz file or of a folder, with / at the end; got "https://me:secret@data.example/text.txt"",
        "credentials in clear": "spec.data.secretRef: secretRef needs uri: https://...",
        "data over http without a digest": "spec.data.digest: data over http, or from a folder on a server, needs digest: sha256:...",
        "family and from": "spec.model: set either family (with config) or from",
        "forbidden pod setting": "spec.podTemplate.hostNetwork: unknown field; allowed here: labels, nodeSelector, tolerations, resources",
        "fraction for a whole number": "spec.task.pretrain.steps: must be a whole number; got 1.5",
        "heads that do not divide": "spec.model.config.heads: heads must divide hiddenSize",
        "llama switch on gpt2": "spec.model.config: kvHeads and ropeTheta are of families llama, qwen2, qwen3, mistral, mixtral and gemma3 only",
        "missing field": "spec.task.pretrain.batch: is required: a map of fields",
        "no task": "spec.task: set pretrain",
        "no tokenizer": "spec.data.tokenizer: a new model needs data.tokenizer: {train: {vocabularySize: N}} or {uri: PATH}",
        "too small": "spec.task.pretrain.batch.length: must be at least 2; got 0",
        "two tokenizers": "spec.data.tokenizer: set exactly one of train, uri",
        "unfetchable data": "spec.data.uri: must be sample://NAME, file:///PATH, a path, or https://HOST/PATH of a .txt, .jsonl, .tar, .tar.gz or .tgz file or of a folder, with / at the end; got "s3://bucket/x"",
        "unknown field": "spec.task.pretrain.step: unknown field, did you mean steps?; allowed here: steps, batch, seed, optimizer, evaluation, samples",
        "unknown field at the top": "spec.outptu: unknown field, did you mean output?; allowed here: model, data, task, parallelism, elastic, recompute, recomputeBudgetMiB, precision, checkpoint, faults, trace, suspend, activeDeadlineSeconds, ttlSecondsAfterFinished, scheduling, managedBy, runtimeRef, podTemplate, output",
        "value out of a list": "spec.model.family: must be one of gpt1, gpt2, gpt3, opt, bloom, llama, qwen2, qwen3, mistral, mixtral, gemma3; got "lama", did you mean llama?",
        "wrong type": "spec.task.pretrain.steps: must be a number; got "many"",
      }
    `);
  });

  it('refuse two models to serve', () => {
    const raw = { ...manifestOf(InferenceService), spec: { model: { name: 'a', version: 'a-1' } } };
    expect(faults(InferenceService, raw)).toEqual(['spec.model: set exactly one of name, version, uri, fromTrainingJob']);
  });
});

describe('changes', () => {
  const parsed = (raw: unknown) => {
    const result = validate(TrainingJob, raw);
    if (!result.ok) throw new Error(result.faults.map(formatFault).join());
    return result.object.spec;
  };
  const said = (to: Tree, from: Tree = job()) =>
    transitionFaults(TrainingJob, parsed(to), parsed(from)).map((fault) => fault.message);

  it('of the task are refused and name the way out', () => {
    expect(said(job((spec) => (at(spec, 'task', 'pretrain')['steps'] = 500)))).toEqual([
      "task can't change after creation; create a job of another name, or delete this one first",
    ]);
  });

  it('that only write a default out are none', () => {
    expect(said(job((spec) => (at(spec, 'task', 'pretrain')['seed'] = 0)))).toEqual([]);
  });

  it('of the checkpoint need suspend, before or after', () => {
    const changed = (spec: Tree) => (spec['checkpoint'] = { everySteps: 5 });
    const suspended = (spec: Tree) => (spec['suspend'] = true);
    expect(said(job(changed))).toEqual(["checkpoint can't change while the job runs; set suspend: true first"]);
    expect(said(job(changed), job(suspended))).toEqual([]);
    expect(said(job((spec) => (changed(spec), suspended(spec))))).toEqual([]);
  });

  it('of a ModelVersion are all refused', () => {
    const result = validate(ModelVersion, manifestOf(ModelVersion));
    if (!result.ok) throw new Error('invalid');
    expect(transitionFaults(ModelVersion, { ...result.object.spec, bytes: 1 }, result.object.spec)).toHaveLength(1);
  });
});

describe('nearest', () => {
  it.each([
    ['hiddensize', 'hiddenSize'],
    ['stpes', 'steps'],
    ['xyz', undefined],
  ])('of %s is %s', (word, expected) => {
    expect(nearest(word, ['steps', 'hiddenSize', 'sequences'])).toBe(expected);
  });
});
