// A serving process in the test's own: it loads a model folder, proves it, answers, drains, and says why when it cannot.
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { accountsOf, coverage } from '#runtime/api/profile/account.ts';
import { ProfilePart } from '#runtime/api/profile/part.ts';
import { createModel, newModelConfig, saveHuggingFace } from '#runtime/model/main.ts';
import { expectNoLeaks, openDevice } from '#runtime/tensor/main.ts';
import { formatTokenizerConfig, trainTokenizer } from '#runtime/tokenizer/main.ts';
import { runEngine } from './run-engine.ts';
import { readAnswer, readEvents } from './testing.ts';

const text = 'Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse. '.repeat(30);

let folder: string;
let modelDir: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'windlass-serve-'));
  modelDir = join(folder, 'model');
  const tokenizer = await trainTokenizer([text], { vocabularySize: 320 });
  const device = openDevice();
  const config = newModelConfig(
    'llama',
    { hiddenSize: 32, layers: 2, heads: 4, kvHeads: 2, contextLength: 128 },
    { vocabularySize: tokenizer.vocabularySize, trainingLength: 128, bosTokenId: 0, eosTokenIds: [0] },
  );
  const model = createModel({ ...config, initializerRange: 0.3 }, { seed: 5, device });
  await saveHuggingFace(model, modelDir, {
    files: [
      { name: 'tokenizer.json', content: tokenizer.toJson() },
      { name: 'tokenizer_config.json', content: formatTokenizerConfig({ eosToken: '<|endoftext|>' }) },
    ],
  });
  model.dispose();
  device.close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function environment(changes: Record<string, string> = {}): Record<string, string> {
  return {
    WL_NAMESPACE: 'default',
    WL_NAME: 'tiny',
    WL_POD_NAME: 'tiny-0',
    WL_SERVICE: JSON.stringify({
      model: { name: 'tiny' },
      engine: { maxSequences: 4, blockSize: 8 },
      drain: { timeoutSeconds: 20 },
    }),
    WL_MODEL_DIR: modelDir,
    WL_MODEL_NAME: 'tiny',
    WL_POD_IP: '127.0.0.1',
    WL_PORT: '0',
    WL_TERMINATION_LOG: join(folder, 'termination-log'),
    ...changes,
  };
}

/** Starts an engine; resolves when it is ready, with ways to stop it. */
async function start(changes: Record<string, string> = {}) {
  const [stop, hurry] = [new AbortController(), new AbortController()];
  const ready = Promise.withResolvers<string>();
  const ended = runEngine({
    env: environment(changes),
    log: pino({ level: 'silent' }),
    signal: stop.signal,
    hurry: hurry.signal,
    onReady: ready.resolve,
  });
  const url = await Promise.race([ready.promise, ended.then((code) => Promise.reject(new Error(`ended with ${code}`)))]);
  const post = (path: string, body: object) =>
    fetch(`${url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  return {
    url,
    post,
    /** As the kubelet of a cluster does: others answer instead, as soon as clients know. */
    leave: () => {
      stop.abort();
      return ended;
    },
    /** Because all of the machine ends. */
    stop: () => {
      hurry.abort();
      stop.abort();
      return ended;
    },
    ended,
  };
}

/** Of this process alone, so that no other one listens there. */
const ownAddress = `127.81.${(process.pid >> 8) & 255}.${process.pid & 255}`;

/** Runs an engine that must fail; gives exit code and last words. */
async function failure(changes: Record<string, string>) {
  await rm(join(folder, 'termination-log'), { force: true });
  const log = pino({ level: 'silent' });
  const code = await runEngine({ env: environment(changes), log, signal: new AbortController().signal });
  return {
    code,
    words: JSON.parse(await readFile(join(folder, 'termination-log'), 'utf8')) as { code: string; message: string },
  };
}

function meanLogprob(choice: object): number {
  const { token_logprobs: scores } = (choice as { logprobs: { token_logprobs: number[] } }).logprobs;
  return scores.reduce((sum, score) => sum + score, 0) / scores.length;
}

describe('runEngine', () => {
  it('answers both protocols with the same tokens for the same seed, whole or streamed, and leaves no tensor behind', async () => {
    await expectNoLeaks(async () => {
      const { url, post, stop } = await start();
      expect((await fetch(`${url}/ready`)).status).toBe(200);
      const request = { model: 'tiny', prompt: 'Call me', max_tokens: 12, seed: 3, temperature: 1, logprobs: 2 };
      const whole = await readAnswer(post('/v1/completions', request));
      const { events, done } = await readEvents(post('/v1/completions', { ...request, stream: true }));
      expect(done).toBe(true);
      expect(events.map((event) => event.choices[0]!.text).join('')).toBe(whole.choices[0]!.text);
      expect(whole.usage.completion_tokens).toBeGreaterThan(0);
      const several = { ...request, ignore_eos: true };
      const drawn = await readAnswer(post('/v1/completions', { ...several, n: 4 }));
      const best = await readAnswer(post('/v1/completions', { ...several, n: 3, best_of: 4 }));
      const means = drawn.choices.map(meanLogprob);
      const order = [0, 1, 2, 3].toSorted((a, b) => means[b]! - means[a]!).slice(0, 3);
      expect(best.choices).toEqual(order.map((place, index) => ({ ...drawn.choices[place], index })));
      expect(best.usage.completion_tokens).toBe(4 * 12);
      const chat = { messages: [{ role: 'user', content: 'Who are you?' }], max_tokens: 8, temperature: 0 };
      const first = await readAnswer(post('/v1/chat/completions', chat));
      const second = await readAnswer(post('/v1/chat/completions', chat));
      expect(second.choices).toEqual(first.choices);
      expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/vllm:prefix_cache_hits_total\{model_name="tiny"\} [1-9]/);
      expect(await stop()).toBe(0);
      await expect(fetch(`${url}/health`)).rejects.toThrow();
    });
  });

  it('keeps keys and values as the service asks, tells what they take, and refuses what is no type', async () => {
    const withCache = (cacheType: string) => ({
      WL_SERVICE: JSON.stringify({ model: { name: 'tiny' }, engine: { maxSequences: 4, blockSize: 8, cacheType } }),
    });
    const texts: string[] = [];
    const bytes: string[] = [];
    for (const cacheType of ['f32', 'q8_0']) {
      const { url, post, stop } = await start(withCache(cacheType));
      const answer = await readAnswer(
        post('/v1/completions', { model: 'tiny', prompt: 'Call me', max_tokens: 40, temperature: 0 }),
      );
      texts.push(answer.choices[0]!.text);
      const metrics = await (await fetch(`${url}/metrics`)).text();
      bytes.push(...metrics.split('\n').filter((line) => line.startsWith('windlass_kv_cache_bytes')));
      expect(await stop()).toBe(0);
    }
    // 4 sequences of 128 tokens, 2 layers with 2 heads of 8 keys and 8 values each: 256 bytes, or 8 blocks of 34.
    expect(bytes).toEqual([
      `windlass_kv_cache_bytes{cache_type="f32",model_name="tiny"} ${4 * 128 * 256}`,
      `windlass_kv_cache_bytes{cache_type="q8_0",model_name="tiny"} ${4 * 128 * 8 * 34}`,
    ]);
    expect(texts.every((text) => text.length > 0)).toBe(true);
    expect(await failure(withCache('q4_0'))).toMatchObject({
      words: { code: 'WL_MANIFEST_INVALID', message: 'spec.engine.cacheType: q4_0; known are f32, f16, bf16, q8_0' },
    });
  });

  it('is ready only when the model has answered a token, and says so to who asks before', async () => {
    const port = 7000;
    const probes: number[] = [];
    const starting = start({ WL_POD_IP: ownAddress, WL_PORT: String(port) });
    const probe = () => fetch(`http://${ownAddress}:${port}/ready`, { headers: { connection: 'close' } });
    await vi.waitUntil(
      async () => {
        const response = await probe().catch(() => undefined);
        if (response) probes.push(response.status);
        return response?.status === 200;
      },
      { timeout: 60_000, interval: 5 },
    );
    const { url, stop } = await starting;
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/vllm:generation_tokens_total\{model_name="tiny"\} 1\n/);
    expect(new Set(probes.slice(0, -1)).difference(new Set([503]))).toEqual(new Set());
    await stop();
  });

  it('leaves a profile that accounts for at least 95 % of the time of each request', async () => {
    const profile = join(folder, 'profile');
    await mkdir(profile);
    const { post, stop } = await start({ WL_PROFILE: profile });
    const ask = (prompt: string) => readAnswer(post('/v1/completions', { prompt, max_tokens: 16, ignore_eos: true }));
    await ask('Call me');
    await Promise.all([ask('Some years ago'), ask('in my purse')]);
    expect(await stop()).toBe(0);
    const part = ProfilePart.parse(JSON.parse(await readFile(join(profile, 'tiny-0.profile.json'), 'utf8')));
    expect(part).toMatchObject({ process: 'tiny-0 (tiny)', left: 0 });
    const accounts = accountsOf(part);
    expect(accounts).toHaveLength(3);
    for (const account of accounts) {
      expect(coverage(account)).toBeGreaterThan(0.95);
      expect(coverage(account)).toBeLessThan(1.001);
      // A draw for each token but the last, whose step ends with the request.
      const draws = account.entries.find(({ name }) => name === 'sample')?.calls ?? 0;
      expect(draws).toBeGreaterThanOrEqual(15);
    }
  });

  it('is never ready with weights that give no numbers', async () => {
    const broken = join(folder, 'broken');
    await cp(modelDir, broken, { recursive: true });
    const file = join(broken, 'model.safetensors');
    const bytes = await readFile(file);
    // The header stays; every weight becomes NaN.
    bytes.fill(0xff, 8 + Number(bytes.readBigUInt64LE()));
    await writeFile(file, bytes);
    expect(await failure({ WL_MODEL_DIR: broken })).toMatchObject({ code: 64, words: { code: 'WL_LOGITS_NOT_FINITE' } });
  });

  it('answers new connections for the whole delay after the signal to stop, and then no more', async () => {
    const delaySeconds = 10;
    const { url, leave } = await start({ WL_SERVICE: JSON.stringify({ drain: { delaySeconds, timeoutSeconds: 20 } }) });
    const ended = leave();
    const begun = performance.now();
    const ask = () =>
      fetch(`${url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ prompt: 'Call me', max_tokens: 1 }),
      }).then(
        (response) => response.status,
        () => 'refused',
      );
    const answers: { status: unknown; askedMs: number }[] = [];
    await vi.waitUntil(
      async () => {
        const askedMs = performance.now() - begun;
        answers.push({ status: await ask(), askedMs });
        return answers.at(-1)!.status === 'refused';
      },
      { timeout: 60_000, interval: 20 },
    );
    // Those that were asked so early that no pause of this machine can have let them come too late.
    const early = answers.filter(({ askedMs }) => askedMs < delaySeconds * 500);
    expect(early.length).toBeGreaterThan(0);
    expect(new Set(early.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await ended).toBe(0);
  });

  it('refuses a prompt that the context cannot hold without encoding it', async () => {
    const { post, stop } = await start();
    const { error } = await readAnswer(post('/v1/completions', { prompt: 'x '.repeat(1_000_000) }));
    expect(error.code).toBe('WL_PROMPT_TOO_LONG');
    expect(error.message).toMatch(/^the prompt has at least \d+ tokens; the context has 128$/);
    await stop();
  });

  it('finishes running streams after the signal to stop, loses none, and ends with 0', async () => {
    const { post, stop } = await start();
    const responses = await Promise.all(
      Array.from({ length: 12 }, (_, seed) =>
        post('/v1/completions', { prompt: 'Call me', max_tokens: 90, seed, stream: true, ignore_eos: true }),
      ),
    );
    const ended = stop();
    for (const response of responses) {
      const { events, done } = await readEvents(response);
      expect(done).toBe(true);
      expect(events.at(-1)!.choices[0]!.finish_reason).toBe('length');
    }
    expect(await ended).toBe(0);
  });

  it('fails no request of clients in use while a second server takes over', async () => {
    const drain = { delaySeconds: 10, timeoutSeconds: 20 };
    const [old, next] = [await start({ WL_SERVICE: JSON.stringify({ drain }) }), await start()];
    let target = old;
    const statuses: number[] = [];
    const enough = new AbortController();
    const client = async (seed: number) => {
      while (!enough.signal.aborted) {
        const response = await target.post('/v1/completions', { prompt: 'Call me', max_tokens: 8, seed, stream: seed % 2 === 0 });
        statuses.push(response.status);
        const body = await response.text();
        if (seed % 2 === 0) expect(body).toContain('[DONE]');
      }
    };
    const clients = Promise.all([0, 1, 2, 3].map(client));
    await expect.poll(() => statuses.length).toBeGreaterThan(20);
    const ended = old.leave();
    const seen = statuses.length;
    // The endpoints of a service change a little after the pod is told to stop.
    await expect.poll(() => statuses.length).toBeGreaterThan(seen + 2);
    target = next;
    expect(await ended).toBe(0);
    await expect.poll(() => statuses.length).toBeGreaterThan(seen + 40);
    enough.abort();
    await clients;
    expect(new Set(statuses)).toEqual(new Set([200]));
    await next.stop();
  });

  it('ends requests with WL_DRAINING when the time to drain is over', async () => {
    const { post, stop } = await start({ WL_SERVICE: JSON.stringify({ drain: { timeoutSeconds: 0 } }) });
    const response = await post('/v1/completions', { prompt: 'Call me', max_tokens: 100, n: 8, stream: true, ignore_eos: true });
    expect(await stop()).toBe(0);
    const { events, done } = await readEvents(response);
    expect(done).toBe(false);
    expect(events.at(-1)!.error.code).toBe('WL_DRAINING');
  });

  it('serves a folder that has the digest of its version, and no other', async () => {
    const lines = await Promise.all(
      (await readdir(modelDir)).map(async (name) => {
        const digest = createHash('sha256')
          .update(await readFile(join(modelDir, name)))
          .digest('hex');
        return `${digest}  ${name}\n`;
      }),
    );
    const digest = createHash('sha256').update(lines.sort().join('')).digest('hex');
    const { stop } = await start({ WL_MODEL_DIGEST: `sha256:${digest}` });
    expect(await stop()).toBe(0);
    // Kept on the node, it is served without the folder that it came from.
    const cache = { WL_MODEL_DIGEST: digest, WL_MODEL_CACHE: join(folder, 'cache') };
    await (await start(cache)).stop();
    expect(await readdir(join(folder, 'cache', 'packed'))).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.packed$/)]);
    const kept = await start({ ...cache, WL_MODEL_DIR: join(folder, 'nowhere') });
    expect(await (await fetch(`${kept.url}/startup`)).json()).toEqual({ phase: 'ready' });
    expect(await kept.stop()).toBe(0);
    const { code, words } = await failure({ WL_MODEL_DIGEST: digest.replace(/^./, (c) => (c === '0' ? '1' : '0')) });
    expect([code, words.code]).toEqual([82, 'WL_MODEL_CORRUPT']);
  });

  it('says why it cannot serve: exit code, code, message and remedy', async () => {
    const { url, stop } = await start();
    const { port } = new URL(url);
    expect(await failure({ WL_PORT: port })).toMatchObject({
      code: 75,
      words: { code: 'WL_PORT_TAKEN', message: expect.stringContaining(port) },
    });
    await stop();
    expect(await failure({ WL_MODEL_DIR: join(folder, 'nowhere') })).toMatchObject({
      code: 64,
      words: { code: 'WL_FILE_MISSING' },
    });
    expect(await failure({ WL_SERVICE: JSON.stringify({ engine: { contextLength: 4096 } }) })).toMatchObject({
      code: 64,
      words: { code: 'WL_MANIFEST_INVALID', message: 'spec.engine.contextLength: 4096; the model takes at most 128' },
    });
    expect(await failure({ WL_SERVICE: 'no json' })).toMatchObject({ code: 86, words: { code: 'WL_INTERNAL' } });
    const file = join(folder, 'file');
    await writeFile(file, '');
    expect(await failure({ WL_MODEL_DIR: file })).toMatchObject({ code: 82, words: { code: 'WL_GGUF_INVALID' } });
  });
});
