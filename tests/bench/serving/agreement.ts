// The bench agreement: how far our probabilities of the next token are from those of llama-server, on the same file after the same tokens.
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as kernels from '#kernels/binding.ts';
import { loadEngine } from '#runtime/engine/main.ts';
import type { LoadedEngine } from '#runtime/engine/main.ts';
import { exportModel } from '#runtime/model/export.ts';
import { contiguous, headWeight, hiddenStates } from '#runtime/model/main.ts';
import { linear, openDevice, scope, tensor } from '#runtime/tensor/main.ts';
import { llamaVersion } from '../../../hack/peer-tools/llama.ts';
import type { IsaClass } from '../line.ts';
import { tellCase } from '../progress.ts';
import { startLlama } from './servers.ts';
import { cacheFolder, subjectOf } from './subject.ts';
import type { Subject } from './subject.ts';

export interface AgreementOptions {
  readonly isa: IsaClass;
  readonly model: string;
  readonly prompts: number;
  /** After each prompt: those that we draw greedily. */
  readonly tokens: number;
}

export interface Agreement {
  readonly bench: 'agreement';
  readonly subject: string;
  readonly isa: IsaClass;
  readonly versions: Readonly<Record<string, string>>;
  readonly positions: number;
  /** Ours from theirs. */
  readonly apart: Distance;
  /** Both from the weights of the file as they are, in f32, with activations that nobody rounds. */
  readonly oursFromExact: Distance;
  readonly theirsFromExact: Distance;
  /** Where ours and theirs differ. */
  readonly disagreements: readonly Disagreement[];
}

/** Of probabilities from others. */
export interface Distance {
  /** Share of positions at which both find the same token most likely. */
  readonly sameTop: number;
  /** Divergence in nats. */
  readonly meanKl: number;
  readonly largestKl: number;
}

/** Where the most likely tokens differ: log-probabilities of both tokens on both sides. */
interface Disagreement {
  readonly prompt: string;
  readonly position: number;
  readonly ours: Choice;
  readonly theirs: Choice;
}

interface Choice {
  readonly token: string;
  readonly logprobOfOurs: number;
  readonly logprobOfTheirs: number;
}

/** The last ones are added as one: what is not listed is a rest of both. */
const listedTokens = 500;

const texts = [
  'The capital of France is',
  'Water boils at a temperature of',
  'def fibonacci(n):\n',
  'Once upon a time, in a village by the sea, there lived',
  'The three primary colours are',
  'To make bread, first mix',
  'Photosynthesis is the process by which',
  'A prime number is a number that',
  'In 1969, for the first time,',
  'The difference between a virus and a bacterium is',
  'Dear Madam, thank you for your letter about',
  'SELECT name, age FROM people WHERE',
  'The moon orbits the earth in about',
  'He opened the door slowly and saw',
  'The theorem of Pythagoras says that',
  'Shipping takes three to five days. If your parcel',
  'An operating system is a program that',
  'Gold is heavier than iron because',
  'List of fruits: apple, pear, plum,',
  'The opposite of cold is hot, and the opposite of early is',
];

export async function benchAgreement({ isa, model, prompts, tokens }: AgreementOptions): Promise<Agreement> {
  const subject = await subjectOf(model);
  await using opened = new AsyncDisposableStack();
  const device = opened.use(openDevice());
  const loaded = opened.adopt(await loadEngine({ modelDir: subject.ours, device }), (engine) => engine.close());
  const llama = opened.adopt(
    await startLlama({
      subject,
      isa,
      threads: kernels.threads(),
      sequences: 1,
      contextLength: 512,
      llamaArguments: ['-ctk', 'f32', '-ctv', 'f32'],
    }),
    (served) => served.close(),
  );
  const exact = opened.adopt(await loadEngine({ modelDir: await expanded(subject), device }), (engine) => engine.close());
  const [apart, oursFromExact, theirsFromExact] = [new Comparison(), new Comparison(), new Comparison()];
  const disagreements: Disagreement[] = [];
  for (const [index, prompt] of texts.slice(0, prompts).entries()) {
    tellCase(`prompt ${index + 1} of ${prompts}`);
    const { ids, length } = await continued(loaded, prompt, tokens);
    const ours = await logprobsOf(loaded, ids.slice(0, -1), length - 1);
    const right = await logprobsOf(exact, ids.slice(0, -1), length - 1);
    for (let at = 0; at < tokens; at += 1) {
      const theirs = await askLlama(llama.address, ids.slice(0, length + at));
      const row = ours[at]!;
      const listed = theirs.map(({ id }) => id);
      const only = (of: Float64Array): Listed[] => listed.map((id) => ({ id, logprob: of[id]! }));
      const [mine, best, other] = [largest(row), largest(right[at]!), theirs[0]!.id];
      apart.add(theirs, only(row), mine === other);
      oursFromExact.add(only(right[at]!), only(row), mine === best);
      theirsFromExact.add(only(right[at]!), theirs, other === best);
      if (mine !== other) disagreements.push(disagreement(loaded, { prompt, position: at, mine, other, row, theirs }));
    }
  }
  return {
    bench: 'agreement',
    subject: subject.name,
    isa,
    versions: { node: process.version, 'llama.cpp': llamaVersion },
    positions: apart.count,
    apart: apart.distance,
    oursFromExact: oursFromExact.distance,
    theirsFromExact: theirsFromExact.distance,
    disagreements,
  };
}

class Comparison {
  readonly #divergences: number[] = [];
  #same = 0;

  get count(): number {
    return this.#divergences.length;
  }

  get distance(): Distance {
    const sum = this.#divergences.reduce((total, each) => total + each, 0);
    return { sameTop: this.#same / this.count, meanKl: sum / this.count, largestKl: Math.max(...this.#divergences) };
  }

  /** Log-probabilities of the same tokens: `others` from `reference`. */
  add(reference: readonly Listed[], others: readonly Listed[], isSameTop: boolean): void {
    this.#divergences.push(divergence(reference, others));
    if (isSameTop) this.#same += 1;
  }
}

/** The file with its weights written out in f32. */
async function expanded({ name, ours }: Subject): Promise<string> {
  const to = join(cacheFolder(), `${name}-expanded.gguf`);
  if (existsSync(to) && statSync(to).mtimeMs > statSync(ours).mtimeMs) return to;
  mkdirSync(cacheFolder(), { recursive: true });
  rmSync(to, { force: true });
  await exportModel({ from: ours, to, recipe: 'F32' });
  return to;
}

/** The tokens of a prompt, `length` of them, and those that the engine draws after it. */
async function continued({ engine, tokenizer }: LoadedEngine, text: string, tokens: number) {
  const prompt = tokenizer.encode(text);
  const ids = [...prompt];
  for await (const piece of engine.generate({ prompt, maxTokens: tokens, temperature: 0, ignoreEos: true })) {
    ids.push(...piece.tokens.map(({ id }) => id));
  }
  return { ids, length: prompt.length };
}

/** Log-probabilities of all tokens after each position from `first` on. */
async function logprobsOf({ model }: LoadedEngine, ids: readonly number[], first: number): Promise<Float64Array[]> {
  const { device, config } = model;
  const all = await scope(() => {
    const hidden = hiddenStates(model, tensor(device, Int32Array.from(ids), [ids.length]), contiguous({ length: ids.length }));
    return linear(hidden, headWeight(model)).read();
  });
  const size = config.vocabularySize;
  return Array.from({ length: ids.length - first }, (_, row) =>
    logSoftmax(all.subarray((first + row) * size, (first + row + 1) * size)),
  );
}

function logSoftmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = logits.reduce((total, value) => total + Math.exp(value - most), 0);
  return Float64Array.from(logits, (value) => value - most - Math.log(sum));
}

interface Listed {
  readonly id: number;
  readonly logprob: number;
}

/** The most likely next tokens, in order. */
async function askLlama(address: string, prompt: readonly number[]): Promise<Listed[]> {
  const body = { prompt, n_predict: 1, temperature: 0, n_probs: listedTokens, cache_prompt: true, post_sampling_probs: false };
  const response = await fetch(`${address}/completion`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`llama-server answered ${response.status}: ${await response.text()}`);
  const answer = (await response.json()) as { completion_probabilities: { top_logprobs: Listed[] }[] };
  return answer.completion_probabilities[0]!.top_logprobs;
}

/** KL(reference, others) over the listed tokens, which are the same, and all that are not listed as one. */
function divergence(reference: readonly Listed[], others: readonly Listed[]): number {
  let [sum, restOfReference, restOfOthers] = [0, 1, 1];
  for (const [at, { logprob }] of reference.entries()) {
    const other = others[at]!.logprob;
    const probability = Math.exp(logprob);
    sum += probability * (logprob - other);
    restOfReference -= probability;
    restOfOthers -= Math.exp(other);
  }
  if (restOfReference <= 1e-9 || restOfOthers <= 1e-9) return sum;
  return sum + restOfReference * Math.log(restOfReference / restOfOthers);
}

function largest(row: Float64Array): number {
  let found = 0;
  for (let id = 1; id < row.length; id += 1) if (row[id]! > row[found]!) found = id;
  return found;
}

interface Difference {
  readonly prompt: string;
  readonly position: number;
  readonly mine: number;
  readonly other: number;
  readonly row: Float64Array;
  readonly theirs: readonly Listed[];
}

function disagreement({ tokenizer }: LoadedEngine, { prompt, position, mine, other, row, theirs }: Difference): Disagreement {
  const choice = (id: number): Choice => ({
    token: tokenizer.decode([id]),
    logprobOfOurs: row[id]!,
    logprobOfTheirs: theirs.find((listed) => listed.id === id)?.logprob ?? -Infinity,
  });
  return { prompt, position, ours: choice(mine), theirs: choice(other) };
}
