// Twice as many requests as there is room for: what is accepted is finished whole, the rest is refused at once and may come again.
import { expect, it } from 'vitest';
import { readAnswer, readEvents, startTestServer } from './testing.ts';

/** A busy machine may take its time. */
const patience = { timeout: 60_000 };

const running = 4;
const waiting = 12;
const capacity = running + waiting;

/** A prompt of its own for each request; the fake model repeats it. */
const promptOf = (index: number) => `${String(index).padStart(3, '0')}-abcdefghij`;
const answerOf = (index: number) => promptOf(index).repeat(3).slice(0, 30);

it('at twice the capacity fails no accepted request, and refuses the others with 429 and Retry-After', async () => {
  const gate = Promise.withResolvers<void>();
  // Blocks for two whole sequences: the others lose theirs again and again.
  const server = await startTestServer({
    blocks: 24,
    blockSize: 4,
    engineLimits: { maxSequences: running, maxWaiting: waiting, maxBatchedTokens: 64 },
    beforeResults: () => gate.promise,
  });
  const { post, engine, runner } = server;
  const body = (index: number, stream: boolean) => ({ prompt: promptOf(index), max_tokens: 30, stream });
  const first = post('/v1/completions', body(0, false));
  await expect.poll(() => runner.steps.length, patience).toBe(1);
  // While the first step is computed, one sequence runs and twelve may wait.
  const responses = Array.from({ length: 2 * capacity }, (_, i) => post('/v1/completions', body(i + 1, i % 2 === 1)));
  await expect.poll(() => engine.stats().waiting, patience).toBe(waiting);
  const refusals: Response[] = [];
  for (const response of responses) void response.then((taken) => taken.status === 429 && refusals.push(taken));
  await expect.poll(() => refusals.length, patience).toBe(2 * capacity - waiting);
  expect(new Set(refusals.map(({ headers }) => headers.get('retry-after')))).toEqual(new Set(['1']));
  gate.resolve();
  const texts = await Promise.all([first, ...responses].map(async (response) => await textOf(await response)));
  const answered = texts.flatMap((text, index) => (text === undefined ? [] : [[text, answerOf(index)]]));
  expect(answered).toHaveLength(1 + waiting);
  for (const [text, wanted] of answered) expect(text).toBe(wanted);
  expect(engine.stats().preemptions).toBeGreaterThan(0);
  expect(engine.stats().finished).toMatchObject({ error: 0, abort: 0, length: 1 + waiting });
  // Who was refused and comes again is answered.
  expect((await readAnswer(post('/v1/completions', body(40, false)))).choices[0]!.text).toBe(answerOf(40));
  expect(engine.checkBlocks().used).toBe(0);
  await server.close();
});

/** The text of an answer, whole or streamed; undefined if it was refused. */
async function textOf(response: Response): Promise<string | undefined> {
  if (response.status === 429) {
    await response.body?.cancel();
    return undefined;
  }
  if (response.headers.get('content-type')?.startsWith('text/event-stream') !== true)
    return (await readAnswer(response)).choices[0]!.text;
  const { events, done } = await readEvents(response);
  expect(done).toBe(true);
  return events.map((event) => event.choices[0]!.text).join('');
}
