// The bench speculation: the same answers with guesses and without, in turns, of a prompt that is to be repeated and of one that is not.
import { loadEngine } from '#runtime/engine/main.ts';
import type { LoadedEngine } from '#runtime/engine/main.ts';
import { createChatTemplate } from '#runtime/tokenizer/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { median } from '../median.ts';
import { tellRound } from '../progress.ts';

interface SpeculationOptions {
  readonly model: string;
  readonly rounds: number;
  readonly tokens: number;
  /** Guesses at most. */
  readonly guesses: number;
}

interface Figures {
  /** Processor time of one token in milliseconds, user and system. */
  readonly cpuMsPerToken: number;
  readonly tokensPerSecond: number;
  readonly tokensPerStep: number;
  readonly acceptedShare: number | undefined;
}

interface SpeculationRow {
  readonly prompt: string;
  readonly without: Figures;
  readonly withGuesses: Figures;
  readonly cpuRatio: number;
}

const passage =
  'The harpoon was darted; the stricken whale flew forward; with igniting velocity the line ran through the groove; ran foul. ' +
  'The cook counted forty barrels of flour, nineteen sacks of rice, and a small box of nutmeg that nobody had asked for. ';

const prompts = {
  'a text to be repeated': `Repeat this text word for word, twice:\n\n${passage}`,
  'a line to be written again and again': 'Write this line again and again: The sea is calm tonight, and the stars are bright.',
  'a question': 'Tell me about the moon and the sea, and then about a garden.',
};

export async function benchSpeculation({ model, rounds, tokens, guesses }: SpeculationOptions): Promise<SpeculationRow[]> {
  await using opened = new AsyncDisposableStack();
  const device = opened.use(openDevice());
  const load = async (speculativeTokens: number) =>
    opened.adopt(await loadEngine({ modelDir: model, device, options: { speculativeTokens } }), (loaded) => loaded.close());
  const sides = { without: await load(0), withGuesses: await load(guesses) };
  const rows: SpeculationRow[] = [];
  for (const [prompt, content] of Object.entries(prompts)) {
    const taken: Record<keyof typeof sides, Answer[]> = { without: [], withGuesses: [] };
    for (let round = 0; round <= rounds; round += 1) {
      if (round > 0) tellRound(round - 1, rounds);
      for (const side of ['without', 'withGuesses'] as const) {
        const answer = await answerOf(sides[side], content, tokens);
        if (round > 0) taken[side].push(answer);
      }
      const [ours, theirs] = [taken.without.at(-1)?.text, taken.withGuesses.at(-1)?.text];
      if (ours !== theirs) throw new Error(`the answers differ:\n${ours}\n---\n${theirs}`);
    }
    const [without, withGuesses] = [figuresOf(taken.without), figuresOf(taken.withGuesses)];
    rows.push({ prompt, without, withGuesses, cpuRatio: without.cpuMsPerToken / withGuesses.cpuMsPerToken });
  }
  return rows;
}

export function printSpeculation(rows: readonly SpeculationRow[]): void {
  for (const { prompt, without, withGuesses, cpuRatio } of rows) {
    console.log(`${prompt}: ${cpuRatio.toFixed(2)}x less processor time for a token`);
    for (const [name, figures] of Object.entries({ without, 'with guesses': withGuesses })) {
      const { cpuMsPerToken, tokensPerSecond, tokensPerStep, acceptedShare } = figures;
      const accepted = acceptedShare === undefined ? '' : `, ${Math.round(100 * acceptedShare)} % of guesses right`;
      console.log(
        `  ${name}: ${cpuMsPerToken.toFixed(2)} ms of processor time a token, ${tokensPerSecond.toFixed(0)} tokens/s, ` +
          `${tokensPerStep.toFixed(2)} tokens a step${accepted}`,
      );
    }
  }
}

interface Answer {
  readonly text: string;
  readonly tokens: number;
  readonly steps: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly guessed: number;
  readonly accepted: number;
}

/** The tokens after the first one: the prompt is not what is measured. */
async function answerOf({ engine, tokenizer }: LoadedEngine, content: string, count: number): Promise<Answer> {
  const template = createChatTemplate(tokenizer.config);
  const prompt = tokenizer.encode(template.render([{ role: 'user', content }]), { addSpecialTokens: !template.own });
  let text = '';
  let begin: { at: number; cpu: NodeJS.CpuUsage; steps: number; tokens: number } | undefined;
  const before = engine.stats();
  for await (const piece of engine.generate({ prompt, maxTokens: count, temperature: 0, ignoreEos: true })) {
    begin ??= {
      at: performance.now(),
      cpu: process.cpuUsage(),
      steps: engine.stats().steps,
      tokens: piece.usage.completionTokens,
    };
    text += piece.text;
  }
  if (!begin) throw new Error('internal: no token came');
  const { user, system } = process.cpuUsage(begin.cpu);
  const after = engine.stats();
  return {
    text,
    tokens: count - begin.tokens,
    steps: after.steps - begin.steps,
    seconds: (performance.now() - begin.at) / 1e3,
    cpuSeconds: (user + system) / 1e6,
    guessed: after.draftTokens - before.draftTokens,
    accepted: after.acceptedTokens - before.acceptedTokens,
  };
}

function figuresOf(answers: readonly Answer[]): Figures {
  const of = (value: (answer: Answer) => number) => median(answers.map(value));
  const guessed = of((answer) => answer.guessed);
  return {
    cpuMsPerToken: of(({ cpuSeconds, tokens }) => (1e3 * cpuSeconds) / tokens),
    tokensPerSecond: of(({ seconds, tokens }) => tokens / seconds),
    tokensPerStep: of(({ steps, tokens }) => tokens / steps),
    acceptedShare: guessed === 0 ? undefined : of(({ accepted }) => accepted) / guessed,
  };
}
