// Data, models and copies on http(s) servers, on a real API server: what pods are made of, whom they may reach, and what is written down of a copy.
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { validate } from '#crds/faults.ts';
import type { Resource } from '#crds/resource.ts';
import { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import { inferenceService, lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import { NetworkPolicy, Pod } from '#operator/kube/core.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { applyCrd, servedCrd, tryCreate } from './api.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';

const waiting = { timeout: 90_000, interval: 50 };
const digest = `sha256:${'a'.repeat(64)}`;
const copy = 'https://models.example:8444/all/moby/uid-400/';
const tokenizer = { train: { vocabularySize: 4096 } };
const keys = ['bearerToken', 'username', 'password', 'ca.crt'];

const secretOf = (name: string, secretName: string) => ({
  name,
  secret: expect.objectContaining({ secretName, optional: true, items: keys.map((key) => ({ key, path: key })) }) as unknown,
});

describe('a job with data and a copy on servers', () => {
  it('gives its pods addresses and the four keys of their Secrets, opens their ports alone, and writes down where the copy lies', async () => {
    await using test = await setUp();
    const { client, namespace } = test;
    const made = trainingJob('moby', {
      data: {
        uri: 'https://data.example:8443/moby.txt',
        digest,
        secretRef: { name: 'data' },
        tokenizer: { uri: 'https://words.example:8445/tokenizer.json', digest, secretRef: { name: 'words' } },
      },
      output: { model: 'moby', uri: 'https://models.example:8444/all/', secretRef: { name: 'models' } },
    });
    await client.create(TrainingJob, { ...made, metadata: { ...made.metadata, namespace } });
    const pod = await vi.waitFor(() => client.get(Pod, { namespace, name: 'moby-worker-0' }), waiting);
    expect(pod.spec.volumes).toEqual(
      expect.arrayContaining([
        secretOf('data-secret', 'data'),
        secretOf('tokenizer-secret', 'words'),
        secretOf('output-secret', 'models'),
      ]),
    );
    const [container] = pod.spec.containers;
    expect(container?.env).toEqual(
      expect.arrayContaining([
        { name: 'WL_DATA_SECRET_DIR', value: '/var/run/secrets/windlass-data' },
        { name: 'WL_TOKENIZER_SECRET_DIR', value: '/var/run/secrets/windlass-tokenizer' },
        { name: 'WL_OUTPUT_SECRET_DIR', value: '/var/run/secrets/windlass-output' },
      ]),
    );
    const { data } = JSON.parse(container?.env?.find(({ name }) => name === 'WL_JOB')?.value ?? '{}') as TrainingJob['spec'];
    expect(data).toMatchObject({ uri: 'https://data.example:8443/moby.txt', digest });
    expect(await webPortsOf(client, namespace, 'moby-job')).toEqual([443, 8443, 8444, 8445]);

    const { published, ...words } = lastWords();
    test.kubelet.fate = ({ metadata }) =>
      metadata.name === 'moby-worker-0'
        ? { exitCode: 0, words: { ...words, published: { ...published!, url: copy } } }
        : undefined;
    test.kubelet.nudge();
    await vi.waitFor(async () => {
      const { status } = await client.get(TrainingJob, { namespace, name: 'moby' });
      expect(status).toMatchObject({ state: 'Succeeded', modelVersion: 'moby-1' });
      expect(status?.conditions).toContainEqual(expect.objectContaining({ type: 'Copied', status: 'True' }));
    }, waiting);
    const { spec } = await client.get(ModelVersion, { namespace, name: 'moby-1' });
    expect(spec).toMatchObject({ url: copy, uri: expect.stringMatching(/^pvc:/) as unknown });

    // The same files from the server, by a service of the address and by a version of somebody else.
    await client.create(InferenceService, service(namespace, 'by-uri', { uri: copy, digest, secretRef: { name: 'models' } }));
    const theirs = { ...spec, uri: copy, url: undefined, secretRef: { name: 'models' }, model: 'theirs', source: undefined };
    const metadata = { name: 'theirs-1', namespace };
    await client.create(ModelVersion, { apiVersion: ModelVersion.apiVersion, kind: 'ModelVersion', metadata, spec: theirs });
    await client.create(InferenceService, service(namespace, 'by-version', { version: 'theirs-1' }));
    for (const name of ['by-uri', 'by-version']) {
      await vi.waitFor(async () => {
        const { items } = await client.list(Pod, { namespace });
        const serving = items.find(({ metadata: { labels } }) => labels?.['windlass.dev/service'] === name);
        expect(serving?.spec.volumes).toEqual(
          expect.arrayContaining([secretOf('model-secret', 'models'), { name: 'cache', emptyDir: {} }]),
        );
        const variables = serving?.spec.containers[0]?.env?.map(({ name: variable, value }) => `${variable}=${value}`);
        expect(variables).toContain(`WL_MODEL_URI=${copy}`);
        expect(variables).toContain('WL_MODEL_SECRET_DIR=/var/run/secrets/windlass-model');
        expect(await webPortsOf(client, namespace, `${name}-serving`)).toEqual([443, 8444]);
      }, waiting);
    }
  });
});

describe('addresses of servers', () => {
  beforeAll(async () => {
    for (const resource of [TrainingJob, InferenceService]) await applyCrd(resource);
    for (const resource of [TrainingJob, InferenceService]) await servedCrd(resource);
  });
  const job = (spec: object) => [TrainingJob, { metadata: { name: 'x' }, spec: { ...example, ...spec } }] as const;
  const data = (fields: object) => job({ data: { tokenizer, ...fields } });
  const tokenized = (fields: object) => job({ data: { uri: '/texts', tokenizer: fields } });
  const from = (fields: object) => job({ model: { from: 'https://models.example/moby/', ...fields } });
  const served = (model: object) => [InferenceService, { metadata: { name: 'x' }, spec: { model } }] as const;
  const example = TrainingJob.definition.example['spec'] as object;
  const secretRef = { name: 'server' };

  it.each<[string, boolean, readonly [Resource, object]]>([
    ['https without a digest', true, data({ uri: 'https://data.example/moby.txt' })],
    ['https with digest and Secret', true, data({ uri: 'https://data.example/moby.jsonl?x=1', digest, secretRef })],
    ['an address with a port and brackets', true, data({ uri: 'http://[::1]:8080/moby.txt', digest })],
    ['http without a digest', false, data({ uri: 'http://data.example/moby.txt' })],
    ['a folder without a digest', false, data({ uri: 'https://data.example/all/' })],
    ['a folder with a query without a digest', false, data({ uri: 'https://data.example/all/?x=1' })],
    ['an archive', true, data({ uri: 'https://data.example/moby.tar.gz', digest })],
    ['an archive over http with a digest', true, data({ uri: 'http://data.example/all/moby.tgz?x=1', digest })],
    ['an archive over http without a digest', false, data({ uri: 'http://data.example/moby.tar' })],
    ['a file that is packed alone', false, data({ uri: 'https://data.example/moby.txt.gz', digest })],
    ['a file of another kind', false, data({ uri: 'https://data.example/moby.zip', digest })],
    ['a Secret over http', false, data({ uri: 'http://data.example/moby.txt', digest, secretRef })],
    ['a digest of a path', false, data({ uri: '/texts', digest })],
    ['a name and password in the address', false, data({ uri: 'https://me:secret@data.example/moby.txt' })],
    ['a tokenizer of a path', true, tokenized({ uri: '/tokenizers/moby.gguf' })],
    [
      'a tokenizer with digest and Secret',
      true,
      tokenized({ uri: 'https://data.example/tokenizer.json?x=1', digest, secretRef }),
    ],
    ['a tokenizer over http with a digest', true, tokenized({ uri: 'http://data.example/moby.gguf', digest })],
    ['a folder with a tokenizer and a digest', true, tokenized({ uri: 'https://data.example/moby/', digest })],
    ['a tokenizer without a digest', false, tokenized({ uri: 'https://data.example/tokenizer.json' })],
    ['a tokenizer of another kind', false, tokenized({ uri: 'https://data.example/tokenizer.model', digest })],
    ['a tokenizer of a path with a digest', false, tokenized({ uri: '/tokenizers/moby.json', digest })],
    ['a tokenizer that is trained, with a digest', false, tokenized({ ...tokenizer, digest })],
    ['a tokenizer that is trained and one that is there', false, tokenized({ ...tokenizer, uri: '/tokenizer.json' })],
    ['a tokenizer by nothing but its digest', false, tokenized({ digest })],
    ['a tokenizer and its Secret over http', false, tokenized({ uri: 'http://data.example/moby/', digest, secretRef })],
    ['a model without a digest', false, from({})],
    ['a model with a digest', true, from({ digest, secretRef })],
    ['a served model with a digest', true, served({ uri: 'https://models.example/moby/', digest, secretRef })],
    ['a served model without a digest', false, served({ uri: 'https://models.example/moby/' })],
    ['a served version with a digest', false, served({ version: 'moby-1', digest })],
    ['a copy on a server', true, job({ output: { model: 'moby', uri: 'https://models.example/', secretRef } })],
    ['a Secret for no copy', false, job({ output: { model: 'moby', secretRef } })],
  ])('%s: accepted is %s, by zod and by the API server', async (_, isAccepted, [resource, manifest]) => {
    const whole = { apiVersion: resource.apiVersion, kind: resource.kind, ...manifest };
    const { status, body } = await tryCreate(resource, whole);
    const said = { zod: validate(resource, whole).ok, server: status === 201 };
    expect(said, body.message).toEqual({ zod: isAccepted, server: isAccepted });
  });
});

async function setUp() {
  const { client, transport } = await connect();
  const namespace = await newNamespace(client);
  const stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  const kubelet = stack.use(await startStubKubelet(namespace, () => undefined));
  stack.use(startOperator(namespace, { args: ['--network-policies'] }));
  return { client, namespace, kubelet, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function service(namespace: string, name: string, model: object): InferenceService {
  const made = inferenceService(name, {}, model);
  return { ...made, metadata: { ...made.metadata, namespace } };
}

/** Ports to which a policy lets pods out anywhere in the world. */
async function webPortsOf(client: HttpKube, namespace: string, name: string): Promise<unknown[]> {
  const { spec } = await vi.waitFor(() => client.get(NetworkPolicy, { namespace, name }), waiting);
  return spec.egress
    .filter(({ to }) => to?.some(({ ipBlock }) => ipBlock))
    .flatMap(({ ports = [] }) => ports.map(({ port }) => port));
}
