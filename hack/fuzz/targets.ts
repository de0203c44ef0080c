// What is fuzzed: how right inputs look, and what may happen to wrong ones.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { errorTable, WindlassError } from '#runtime/api/errors.ts';
import { rawGguf, everyType } from '#runtime/model/gguf/testing.ts';
import { describeModel, saveGguf } from '#runtime/model/gguf/save-model.ts';
import { openGguf } from '#runtime/model/gguf/file.ts';
import { openModel } from '#runtime/model/main.ts';
import { parameterSpecs } from '#runtime/model/parameters.ts';
import { openSafetensors } from '#runtime/model/safetensors-file.ts';
import { safetensorsHeader } from '#runtime/model/safetensors.ts';
import { syntheticWeights, tinyGpt2, tinyLlama } from '#runtime/model/testing.ts';
import { isUnpacked, unpack } from '#runtime/remote/main.ts';
import { paxRecord, rawTar, resealed } from '#runtime/remote/tar-testing.ts';
import { startTestServer } from '#runtime/serve/testing.ts';
import { createChatTemplate, ggufTokenizer, Tokenizer } from '#runtime/tokenizer/main.ts';

export interface OpenTarget {
  readonly seeds: readonly Uint8Array[];
  /** Whether the input was taken; false if it was refused as it should be. Throws what must not happen. */
  feed(input: Uint8Array): Promise<boolean>;
  close(): Promise<void>;
}

export const targets = {
  tar: openTarTarget,
  gguf: openGgufTarget,
  safetensors: openSafetensorsTarget,
  tokenizer: openTokenizerTarget,
  'chat-template': openChatTemplateTarget,
  http: openHttpTarget,
} as const satisfies Readonly<Record<string, () => Promise<OpenTarget>>>;

export type TargetName = keyof typeof targets;

const noClose = async (): Promise<void> => {};
const sampleText = 'Call me Ishmael. 12345 naïve 鯨 🐳\n\n  <|endoftext|></s>';

async function openGgufTarget(): Promise<OpenTarget> {
  const { file, close } = fileOf('input.gguf');
  const tokenizer = {
    model: { type: 'BPE', vocab: { a: 1, b: 2, ab: 3 }, merges: [['a', 'b']] },
    added_tokens: [{ id: 0, content: '<|endoftext|>', special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  };
  const seeds = [rawGguf(everyType())];
  for (const config of [tinyLlama, tinyGpt2]) {
    const small = { ...config, layers: 1 };
    const description = describeModel(small, { name: 'm', tokenizer, chatTemplate: '{{ messages }}' });
    await saveGguf(syntheticWeights(small), file, 'F16', description);
    seeds.push(readFileSync(file));
  }
  return {
    seeds,
    close,
    async feed(input) {
      await writeFile(file, input);
      const isReadable = await isTaken(async () => {
        const head = await openGguf(file);
        try {
          for (const tensor of head.tensors.values()) await head.read(tensor);
        } finally {
          await head.close();
        }
      });
      await isTaken(async () => {
        const model = await openModel(file);
        try {
          if (model.vocabulary) await isTaken(async () => void ggufTokenizer(model.vocabulary!).encode(sampleText));
          for (const { name } of parameterSpecs(model.config)) await model.read(name);
        } finally {
          await model.close();
        }
      });
      return isReadable;
    },
  };
}

async function openSafetensorsTarget(): Promise<OpenTarget> {
  const { file, close } = fileOf('input.safetensors');
  const header = safetensorsHeader(
    [
      { name: 'a', dtype: 'F32', shape: [2, 3] },
      { name: 'b', dtype: 'BF16', shape: [5] },
      { name: 'c', dtype: 'F16', shape: [1, 1] },
    ],
    { format: 'pt' },
  );
  return {
    seeds: [Buffer.concat([header, new Uint8Array(24 + 10 + 2).fill(61)]), safetensorsHeader([])],
    close,
    async feed(input) {
      await writeFile(file, input);
      return await isTaken(async () => {
        const opened = await openSafetensors(file);
        try {
          for (const name of opened.tensors.keys()) await opened.read(name);
        } finally {
          await opened.close();
        }
      });
    },
  };
}

/** Also with right checksums, so that changes get further: whatever is in it, nothing but files comes out, and only where they are to be. */
async function openTarTarget(): Promise<OpenTarget> {
  const { file, close } = fileOf('place/input.tar');
  const folder = join(dirname(file), 'unpacked');
  const long = `${'d/'.repeat(60)}c.txt`;
  const seeds = [
    rawTar({ name: 'a.txt', content: 'one' }, { name: 'b/', type: '5' }, { name: 'b/c.jsonl', content: 'x'.repeat(1000) }),
    rawTar(
      { name: 'p', type: 'x', content: paxRecord('path', 'b/naïve.txt') + paxRecord('size', '3') },
      { name: 's', content: 'one' },
    ),
    rawTar(
      { name: 'L', type: 'L', content: `${long}\0` },
      { name: 's', content: 'two' },
      { name: 'in.txt', prefix: 'the/folder' },
    ),
  ];
  const feed = async (input: Uint8Array): Promise<boolean> => {
    rmSync(dirname(file), { recursive: true, force: true });
    mkdirSync(dirname(file));
    await writeFile(file, input);
    const options = { place: 'input', only: /./, words: 'file', needs: noClose, onBytes: () => {} };
    const isGood = await isTaken(() => unpack(file, '.tar', folder, options));
    const top = [...readdirSync(dirname(dirname(file))), ...readdirSync(dirname(file))].toSorted().join(' ');
    if (top !== (isGood ? 'input.tar place unpacked' : 'input.tar place')) throw new Error(`it left ${top}`);
    if (!isGood) return false;
    const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
    const odd = entries.find((entry) => !entry.isFile() && !entry.isDirectory());
    if (odd) throw new Error(`${odd.name} is neither a file nor a folder`);
    if (!(await isUnpacked(folder, () => {}))) throw new Error('it is not what its list says');
    return true;
  };
  return {
    seeds,
    close,
    async feed(input) {
      const isGood = await feed(input);
      await feed(resealed(input));
      return isGood;
    },
  };
}

async function openTokenizerTarget(): Promise<OpenTarget> {
  return {
    seeds: corpus('tokenizer'),
    close: noClose,
    feed: (input) =>
      isTaken(async () => {
        const tokenizer = Tokenizer.fromJson(Buffer.from(input).toString());
        tokenizer.decode(tokenizer.encode(sampleText));
        tokenizer.toJson();
      }),
  };
}

async function openChatTemplateTarget(): Promise<OpenTarget> {
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: '{{ 7 * 7 }} {% endfor %}' },
  ];
  return {
    seeds: corpus('chat-template'),
    close: noClose,
    feed: (input) =>
      isTaken(async () => {
        const template = createChatTemplate({ chatTemplate: Buffer.from(input).toString(), bosToken: '<s>', eosToken: '</s>' });
        const text = template.render(messages);
        if (text.length > 1024 * 1024) throw new Error(`a prompt of ${text.length} characters came out`);
      }),
  };
}

/** Bytes to a listening server: whatever comes back, the server answers the next one, and never with 500. */
async function openHttpTarget(): Promise<OpenTarget> {
  const limits = { headerTimeoutMs: 200, requestTimeoutMs: 300 };
  const server = await startTestServer({ limits });
  return {
    seeds: corpus('http').map((bytes) => Buffer.from(bytes.toString().replaceAll('\n', '\r\n'))),
    close: () => server.close(),
    async feed(input) {
      const answer = await server.raw(
        Buffer.concat([input, Buffer.from('\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')]),
      );
      const [, status = ''] = /^HTTP\/1\.1 (\d{3})/.exec(answer) ?? [];
      if (status.startsWith('5')) throw new Error(`it answered ${answer.slice(0, 400)}`);
      const health = await server.get('/health');
      await health.text();
      if (health.status !== 200) throw new Error(`the server is no longer well: ${health.status}`);
      return status === '200';
    },
  };
}

/** Runs a reader: true if it takes the input, false if it refuses it by a code of ours. */
async function isTaken(read: () => Promise<void>): Promise<boolean> {
  try {
    await read();
    return true;
  } catch (error) {
    if (error instanceof WindlassError && error.code in errorTable && error.code !== 'WL_INTERNAL') return false;
    throw error;
  }
}

function corpus(name: string): Buffer[] {
  const folder = join(import.meta.dirname, 'corpus', name);
  return readdirSync(folder)
    .toSorted()
    .map((file) => readFileSync(join(folder, file)));
}

function fileOf(name: string): { file: string; close: () => Promise<void> } {
  const folder = mkdtempSync(join(tmpdir(), 'wl-fuzz-'));
  return { file: join(folder, name), close: async () => rmSync(folder, { recursive: true, force: true }) };
}
