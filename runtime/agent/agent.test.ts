import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createInProcessBus } from '#runtime/api/bus.ts';
import { serveBus } from '#runtime/api/bus-socket.ts';
import { TerminationMessage } from '#runtime/api/messages.ts';
import { runAgent } from './agent.ts';
import { fitTerminationMessage } from './last-words.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-agent-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** Runs the agent over a rank that is a few lines of script. */
async function agentWith(script: string, options: { maxRestarts?: number; signal?: AbortSignal; bus?: string } = {}) {
  const rank = join(folder, 'rank.mjs');
  await writeFile(rank, script);
  const log = join(folder, 'termination-log');
  const exitCode = await runAgent({
    rankCommand: [process.execPath, rank],
    signal: options.signal ?? new AbortController().signal,
    log: () => {},
    env: {
      PATH: process.env.PATH,
      WL_FOLDER: folder,
      WL_NAMESPACE: 'default',
      WL_NAME: 'moby',
      WL_UID: 'u1',
      WL_ATTEMPT: '0',
      WL_POD_NAME: 'moby-worker-0',
      WL_JOB: '{}',
      WL_MAX_RESTARTS: String(options.maxRestarts ?? 0),
      WL_JOB_DIR: folder,
      WL_MODELS_DIR: folder,
      WL_MODELS_URI: 'pvc://models',
      WL_TERMINATION_LOG: log,
      WL_BUS: options.bus,
    },
  });
  return { exitCode, words: TerminationMessage.parse(JSON.parse(await readFile(log, 'utf8'))) };
}

describe('agent', () => {
  it('ends with 0 and passes on what was published', async () => {
    const model = {
      path: 'moby/1',
      digest: 'd',
      format: 'huggingface',
      architecture: 'llama',
      parameters: 1,
      contextLength: 8,
      vocabularySize: 9,
      step: 4,
      bytes: 5,
      metrics: {},
    };
    const { exitCode, words } = await agentWith(
      `process.send({ type: 'published', model: ${JSON.stringify(model)} }, () => process.exit(0));`,
    );
    expect({ exitCode, words }).toEqual({ exitCode: 0, words: { published: model } });
  });

  it('restarts a killed rank in place until it succeeds', async () => {
    const { exitCode, words } = await agentWith(
      `import { appendFileSync, readFileSync } from 'node:fs';
       const file = process.env.WL_FOLDER + '/starts';
       appendFileSync(file, 'x');
       if (readFileSync(file, 'utf8').length < 3) process.kill(process.pid, 'SIGKILL');`,
      { maxRestarts: 5 },
    );
    expect({ exitCode, restarts: words.restarts }).toEqual({ exitCode: 0, restarts: 2 });
    expect(await readFile(join(folder, 'starts'), 'utf8')).toBe('xxx');
  });

  it('gives a user error without a restart, with code, remedy, step and the last log lines', async () => {
    const { exitCode, words } = await agentWith(
      `console.log('line one'); console.error('line two');
       process.send({ type: 'failed', code: 'WL_DATA_EMPTY', message: 'corpus has 3 tokens, 9 needed', remedy: 'Add text.', step: 0 }, () => process.exit(64));`,
      { maxRestarts: 5 },
    );
    expect(exitCode).toBe(64);
    expect(words).toMatchObject({
      rank: 0,
      code: 'WL_DATA_EMPTY',
      message: 'corpus has 3 tokens, 9 needed',
      remedy: 'Add text.',
      step: 0,
    });
    expect(words.logTail?.split('\n').sort()).toEqual(['line one', 'line two']);
  });

  it('names the signal when a rank says nothing', async () => {
    const { exitCode, words } = await agentWith(`process.kill(process.pid, 'SIGKILL');`);
    expect({ exitCode, message: words.message }).toEqual({ exitCode: 80, message: 'rank 0 was ended by SIGKILL' });
  });

  it('stops the rank in order and does not restart it', async () => {
    const abort = new AbortController();
    const bus = createInProcessBus();
    const server = await serveBus(bus, join(folder, 'bus.sock'));
    bus.subscribe('wl.v1.default.moby.progress', () => abort.abort());
    const { exitCode, words } = await agentWith(
      `process.on('SIGTERM', () => process.exit(90));
       process.send({ type: 'progress', progress: { step: 3, steps: 9 } });
       setInterval(() => {}, 1000);`,
      { maxRestarts: 5, signal: abort.signal, bus: `unix:${join(folder, 'bus.sock')}` },
    );
    expect(exitCode).toBe(90);
    expect(words).toMatchObject({ message: 'rank 0 was stopped and saved its state', progress: { step: 3, steps: 9 } });
    server.close();
  });
});

describe('last words', () => {
  it('fit into 4,096 bytes and keep the newest log lines', () => {
    const logTail = Array.from({ length: 200 }, (_, index) => `line ${index} ${'x'.repeat(50)}`).join('\n');
    const text = fitTerminationMessage({ message: 'm'.repeat(500), logTail });
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
    expect(text).toContain('line 199');
    expect(text).not.toContain('line 3 ');
  });

  it('shorten a message that is too long by itself', () => {
    expect(Buffer.byteLength(fitTerminationMessage({ message: 'é'.repeat(9000) }))).toBeLessThanOrEqual(4096);
  });
});
