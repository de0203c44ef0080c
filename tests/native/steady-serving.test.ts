// A served model is steady: after a warm-up, a thousand requests leave the memory of the process as it was.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createModel, newModelConfig, saveHuggingFace } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { formatTokenizerConfig, trainTokenizer } from '#runtime/tokenizer/main.ts';

const executable = resolve(import.meta.dirname, '../../bin/windlass.ts');
/** Of this process alone, so that no other one listens there. */
const address = `127.82.${(process.pid >> 8) & 255}.${process.pid & 255}`;
const port = 7000;
/** V8 grows its heap to a working size during the first requests; what grows after them would grow for ever. */
const warmUpRequests = 3_000;
const requests = 1_000;
const clients = 8;

let folder: string;
let engine: ChildProcess;
let url: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'windlass-steady-'));
  const text = 'Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse. ';
  const tokenizer = await trainTokenizer([text.repeat(30)], { vocabularySize: 320 });
  using device = openDevice();
  const size = { hiddenSize: 64, layers: 2, heads: 4, contextLength: 128 };
  using model = createModel(newModelConfig('llama', size, { vocabularySize: tokenizer.vocabularySize, trainingLength: 128 }), {
    seed: 5,
    device,
  });
  await saveHuggingFace(model, join(folder, 'model'), {
    files: [
      { name: 'tokenizer.json', content: tokenizer.toJson() },
      { name: 'tokenizer_config.json', content: formatTokenizerConfig({ eosToken: '<|endoftext|>' }) },
    ],
  });
  url = `http://${address}:${port}`;
  engine = spawn(process.execPath, [executable, 'engine'], {
    stdio: 'ignore',
    env: {
      ...process.env,
      WL_NAMESPACE: 'default',
      WL_NAME: 'tiny',
      WL_POD_NAME: 'tiny-0',
      WL_SERVICE: JSON.stringify({ model: { name: 'tiny' }, engine: { maxSequences: 8 } }),
      WL_MODEL_DIR: join(folder, 'model'),
      WL_MODEL_NAME: 'tiny',
      WL_POD_IP: address,
      WL_PORT: String(port),
      WL_TERMINATION_LOG: join(folder, 'termination-log'),
    },
  });
  const isReady = () =>
    fetch(`${url}/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await isReady())) {
    if (engine.exitCode !== null) throw new Error(`the engine ended: ${readFileSync(join(folder, 'termination-log'), 'utf8')}`);
    await new Promise((later) => setTimeout(later, 20));
  }
});

afterAll(() => {
  engine.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

it('holds its memory within 2 % over a thousand requests and frees all blocks', async () => {
  await send(warmUpRequests);
  const samples: number[] = [];
  for (let sent = 0; sent < requests; sent += 50) {
    await send(50);
    samples.push(residentKiB(engine.pid!));
  }
  const quarter = samples.length / 4;
  const [before, after] = [median(samples.slice(0, quarter)), median(samples.slice(-quarter))];
  expect(after / before, `${before} KiB, then ${after} KiB`).toBeLessThanOrEqual(1.02);
  const metrics = await fetch(`${url}/metrics`).then((response) => response.text());
  expect(metrics).toMatch(/^vllm:num_requests_running\S* 0$/m);
  expect(metrics).toMatch(/^vllm:kv_cache_usage_perc\S* 0$/m);
}, 400_000);

/** Requests of mixed lengths, streamed or not, from several clients at once. */
async function send(count: number): Promise<void> {
  let next = 0;
  const client = async () => {
    for (let number = next++; number < count; number = next++) {
      const body = {
        model: 'tiny',
        prompt: 'Some years ago '.repeat(1 + (number % 5)),
        max_tokens: 2 + (number % 13),
        stream: number % 3 === 0,
        temperature: 0.7,
        seed: number,
      };
      const response = await fetch(`${url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(response.status).toBe(200);
      await response.text();
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}

function residentKiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
