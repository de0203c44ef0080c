// llama.cpp's own benches, one figure at a time so that they can take turns with ours.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { llamaTool, llamaVersion } from '../../../hack/peer-tools/llama.ts';
import type { LlamaVariant } from '../../../hack/peer-tools/llama.ts';
import type { CacheType } from '#runtime/tensor/main.ts';
import type { Together } from './our-engine.ts';
import type { Subject } from './subject.ts';

const run = promisify(execFile);
const maxBuffer = 16 << 20;

export class LlamaTools {
  readonly version = llamaVersion;
  readonly #subject: Subject;
  readonly #variant: LlamaVariant;
  readonly #threads: string;
  readonly #cache: readonly string[];

  /** Throws how to get them where they are not there. */
  constructor(subject: Subject, variant: LlamaVariant, threads: number, cache?: CacheType) {
    llamaTool('llama-bench', variant);
    this.#subject = subject;
    this.#variant = variant;
    this.#threads = String(threads);
    this.#cache = cache ? ['-ctk', cache, '-ctv', cache] : [];
  }

  /** Tokens per second of a prompt of `length` tokens. */
  async prefill(length: number): Promise<number> {
    return await this.#bench(['-p', String(length), '-n', '0']);
  }

  /** Tokens per second of `count` tokens of one sequence, after `depth`. */
  async decode(count: number, depth = 0): Promise<number> {
    return await this.#bench(['-p', '0', '-n', String(count), '-d', String(depth)]);
  }

  /** Tokens per second of all sequences together, prompts not counted. */
  async decodeTogether({ sequences, promptLength, count }: Together): Promise<number> {
    const context = sequences * (promptLength + count);
    const sizes = ['-c', String(context), '-npp', String(promptLength), '-ntg', String(count), '-npl', String(sequences)];
    const output = await this.#run('llama-batched-bench', [...sizes, '--output-format', 'jsonl']);
    const line = output.split('\n').find((text) => text.startsWith('{'));
    const { speed_tg: speed } = JSON.parse(line ?? '{}') as { speed_tg?: number };
    if (typeof speed !== 'number') throw new Error(`llama-batched-bench printed no figure:\n${output.slice(-2000)}`);
    return speed;
  }

  /** With and without flash attention, of which now one is faster and now the other: the better one counts. */
  async #bench(sizes: readonly string[]): Promise<number> {
    const output = await this.#run('llama-bench', [...sizes, '-fa', '0,1', '-r', '1', '-o', 'json']);
    const results = JSON.parse(output) as { readonly avg_ts: number }[];
    if (results.length !== 2) throw new Error(`llama-bench printed ${results.length} figures, not 2:\n${output.slice(-2000)}`);
    return Math.max(...results.map((result) => result.avg_ts));
  }

  async #run(tool: 'llama-bench' | 'llama-batched-bench', args: readonly string[]): Promise<string> {
    const common = ['-m', this.#subject.gguf, '-t', this.#threads, ...this.#cache];
    const { stdout } = await run(llamaTool(tool, this.#variant), [...common, ...args], { maxBuffer });
    return stdout;
  }
}
