// The server of the bench sse: our HTTP server and our engine over a model that costs nothing. It is asked line by line.
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { destination, pino } from 'pino';
import { resolveData } from '#runtime/data/source.ts';
import { Engine } from '#runtime/engine/engine.ts';
import type { ScoredToken } from '#runtime/engine/request.ts';
import type { Runner } from '#runtime/engine/runner.ts';
import { completionLength } from '#runtime/engine/sequence.ts';
import { vocabularyOf } from '#runtime/engine/vocabulary.ts';
import { codecOf } from '#runtime/serve/codec.ts';
import { defaultLimits } from '#runtime/serve/limits.ts';
import { createServer } from '#runtime/serve/server.ts';
import { trainTokenizer } from '#runtime/tokenizer/main.ts';

/** Arguments of the program, as one JSON text. */
export interface ServerOrder {
  /** Streams at the same time, at most, and tokens of each. */
  readonly streams: number;
  readonly tokens: number;
}

/** What it says first. */
export interface ServerReady {
  readonly url: string;
  /** What every stream says. */
  readonly text: string;
}

/** Answer to `cpu` (since the start) and to `engine STREAMS REQUESTS` (the same without HTTP): microseconds of all threads. */
export type ProcessorTime = NodeJS.CpuUsage;

const blockSize = 16;
/** Of the text that the tokenizer is made of and the model says. */
const textCharacters = 200_000;
const vocabularySize = 4096;
const promptRoom = 256;

/** Says the same tokens in every sequence, one in each turn of the event loop. */
function freeRunner(said: readonly ScoredToken[], blocks: number): Runner {
  return {
    blocks,
    blockSize,
    cacheType: 'f32',
    blockBytes: 0,
    begin: (work) => ({
      layersLeft: 1,
      advance: async () => {
        await turn();
        return work.map(({ chunk: { sequence, last } }) => (last ? { tokens: [said[completionLength(sequence)]!] } : {}));
      },
      close: () => {},
    }),
    close: () => {},
  };
}

const { streams, tokens } = JSON.parse(process.argv[2]!) as ServerOrder;
// As `windlass engine` does.
setFlagsFromString('--heap-growing-percent=30');
const source = await resolveData('sample://moby-dick', { baseDir: '.' });
const novel = readFileSync(source.files[0]!.path, 'utf8').slice(0, textCharacters);
const tokenizer = await trainTokenizer([novel], { vocabularySize });
const ids = tokenizer.encode(novel).slice(0, tokens);
const contextLength = promptRoom + tokens;
const log = pino(destination('/dev/null'));
const server = createServer({ model: 'bench', limits: defaultLimits, log, now: Date.now, newId: () => crypto.randomUUID() });
const engine = new Engine({
  runner: freeRunner(
    ids.map((id) => ({ id, logprob: -1, top: [] })),
    // One for each hundredth is kept back.
    Math.ceil(1.1 * streams * (contextLength / blockSize + 1)),
  ),
  vocabulary: vocabularyOf(tokenizer, { vocabularySize: tokenizer.vocabularySize, eosTokenIds: [] }),
  limits: { contextLength, maxSequences: streams, maxBatchedTokens: 512, maxWaiting: streams, prefixCache: true },
  observer: server.observer,
  now: () => performance.now() / 1000,
  randomSeed: () => 1n,
  hashSeed: 'bench',
});
server.serve({ engine, codec: codecOf(tokenizer, contextLength) });
await server.app.listen({ host: '127.0.0.1', port: 0 });
const { port } = server.app.server.address() as AddressInfo;
const answer = (value: ServerReady | ProcessorTime) => console.log(JSON.stringify(value));
answer({ url: `http://127.0.0.1:${port}`, text: tokenizer.decode(ids) });
for await (const line of createInterface({ input: process.stdin })) {
  const [command, readers, requests] = line.split(' ');
  answer(command === 'engine' ? await engineAlone(Number(readers), Number(requests)) : process.cpuUsage());
}
await engine.close();
await server.app.close();

/** The same tokens for so many readers in this process, each of which asks so many times. */
async function engineAlone(readers: number, requests: number): Promise<ProcessorTime> {
  const begin = process.cpuUsage();
  const prompt = tokenizer.encode('Tell me about the whale.');
  const read = async () => {
    for (let turn = 0; turn < requests; turn += 1)
      for await (const piece of engine.generate({ prompt, maxTokens: tokens, temperature: 0, ignoreEos: true })) void piece;
  };
  await Promise.all(Array.from({ length: readers }, read));
  return process.cpuUsage(begin);
}
