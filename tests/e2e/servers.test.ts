// Data from a server that wants credentials and breaks off, a copy of the model to it, and a service that fetches the model from there.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { issue, newAuthority, newKey } from '#operator/trust/x509.ts';
import { TestServer } from '#runtime/remote/testing.ts';
import { cleanUp, object, project, windlass, writeManifests } from './harness.ts';

afterEach(cleanUp);

const token = 'a-token-that-nobody-sees';

async function secureServer(): Promise<{ server: TestServer; authority: string }> {
  const validity = { from: Date.now() - 60_000, until: Date.now() + 3_600_000 };
  const ca = await newAuthority('tests', validity);
  const { key, publicKey } = await newKey();
  const leaf = { commonName: 'localhost', publicKey, dnsNames: ['localhost'], uris: [], usages: ['server' as const] };
  return { server: await TestServer.start({ key, cert: await issue({ ...leaf, ...validity }, ca) }), authority: ca.certificate };
}

const secret = (authority: string) => `apiVersion: v1
kind: Secret
metadata: { name: server }
stringData:
  bearerToken: ${token}
  ca.crt: ${JSON.stringify(authority)}
`;

const job = (data: string, output: string) => `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: tiny }
spec:
  model: { family: llama, config: { hiddenSize: 32, layers: 2, heads: 2, contextLength: 64 } }
  data: { ${data}, secretRef: { name: server }, tokenizer: { train: { vocabularySize: 300 } } }
  task:
    pretrain: { steps: 20, batch: { sequences: 4, length: 32 }, optimizer: { learningRate: 3e-3 } }
  output: { model: tiny, ${output}, secretRef: { name: server } }
`;

const service = (uri: string, digest: string) => `apiVersion: windlass.dev/v1alpha1
kind: InferenceService
metadata: { name: tiny }
spec: { model: { uri: "${uri}", digest: "${digest}", secretRef: { name: server } } }
`;

it('trains on data of a server, puts the model there, and serves it from there, without showing the credentials anywhere', async () => {
  const { server, authority } = await secureServer();
  await using _ = server;
  const folder = project();
  const text = readFileSync(join(folder, 'texts/sea.txt'));
  server.files.set('/sea.txt', text);
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
  server.answers.push((request, response) => server.send(request, response, 5000));
  const data = `uri: "${server.url('/sea.txt').href}", digest: "${digest}"`;
  writeManifests(folder, secret(authority), job(data, `uri: "${server.url('/models/').href}"`));
  const trained = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit');
  expect(trained.output).toContain('trainingjob/tiny: Succeeded, published tiny-1');
  expect(trained.output).toContain('trainingjob/tiny: downloading data');
  expect(trained.code).toBe(0);
  expect(server.askedBy('GET')).toEqual(['/sea.txt', '/sea.txt bytes=5000-']);

  const version = (await object(folder, 'ModelVersion', 'tiny-1'))!.spec as { url: string; digest: string };
  const { pathname } = new URL(version.url);
  expect([...server.files.keys()].filter((path) => path.startsWith('/models/')).toSorted()).toEqual(
    ['SHA256SUMS', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].map(
      (name) => `${pathname}${name}`,
    ),
  );
  expect((await object(folder, 'TrainingJob', 'tiny'))!.status).toMatchObject({
    conditions: expect.arrayContaining([expect.objectContaining({ type: 'Copied', status: 'True' })]),
  });

  writeManifests(folder, secret(authority), service(version.url, version.digest));
  const served = await windlass(folder, 'run', '-f', 'manifest.yaml', '--ask', 'the whale', '--exit');
  expect(served.output).toMatch(/\ntiny: the whale/);
  expect(served.code).toBe(0);
  expect(server.askedBy('GET').filter((path) => path === `${pathname}model.safetensors`)).toHaveLength(1);

  expect(new Set(server.asked.map(({ headers }) => headers.authorization))).toEqual(new Set([`Bearer ${token}`]));
  const state = join(folder, '.windlass');
  const seen = [
    trained.output,
    served.output,
    ...filesBelow(state)
      .filter((path) => !path.includes('/objects/'))
      .map(read),
  ];
  expect(seen.filter((one) => one.includes(token))).toEqual([]);
});

it('keeps the model when its copy is refused, and says so', async () => {
  const { server, authority } = await secureServer();
  await using _ = server;
  const folder = project();
  server.files.set('/sea.txt', readFileSync(join(folder, 'texts/sea.txt')));
  server.answers.push(
    (request, response) => server.send(request, response),
    (__, response) => void response.writeHead(403).end(),
  );
  const data = `uri: "${server.url('/sea.txt').href}"`;
  writeManifests(folder, secret(authority), job(data, `uri: "${server.url('/models/').href}"`));
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit');
  expect(output).toMatch(/published tiny-1; tiny-1 is on its claim, but no copy is at .*: WL_REMOTE_REFUSED: .* 403 Forbidden/);
  expect(code).toBe(0);
  const { url, uri } = (await object(folder, 'ModelVersion', 'tiny-1'))!.spec as { url?: string; uri: string };
  expect(url).toBeUndefined();
  const [, path = ''] = /^pvc:\/\/(.*)$/.exec(uri) ?? [];
  expect(existsSync(join(folder, '.windlass/volumes/default', path, 'model.safetensors'))).toBe(true);
});

function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

const read = (path: string): string => readFileSync(path, 'latin1');
