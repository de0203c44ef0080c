// The page about the API lists what the server takes: each field that it names is known, and says what is wrong with a wrong value.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { readAnswer, startTestServer } from './testing.ts';

const page = readFileSync(new URL('../../docs/inference-api.md', import.meta.url), 'utf8');

/** Fields by the route that the page gives them; both where it gives none. */
function fieldsOf(route: 'completions' | 'chat'): string[] {
  const rows = page.split('\n').filter((line) => line.startsWith('| `') && !line.includes('/v1/') && !line.includes('GET'));
  const cells = rows.map((row) => row.split('|').map((cell) => cell.trim()));
  const here = cells.filter(([, , where]) => where === route || (where !== 'completions' && where !== 'chat'));
  return here.flatMap(([, names = '']) => [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name!));
}

it.each(['completions', 'chat'] as const)('documents only fields of %s that the server checks', async (route) => {
  const server = await startTestServer();
  const fields = fieldsOf(route);
  expect(fields.length).toBeGreaterThan(15);
  for (const field of fields) {
    const body = { prompt: 'a', messages: [{ role: 'user', content: 'a' }], max_tokens: 1, [field]: [{ wrong: true }] };
    const { [route === 'chat' ? 'prompt' : 'messages']: _, ...given } = body as Record<string, unknown>;
    const { error } = await readAnswer(server.post(route === 'chat' ? '/v1/chat/completions' : '/v1/completions', given));
    expect([error.param, error.message]).toEqual([field, expect.not.stringMatching(/unknown|not supported/)]);
  }
  await server.close();
});

it('says of the fields that ask for nothing what they may say', async () => {
  const server = await startTestServer();
  const [, list = ''] = /Refused unless they ask for nothing: ([^]*?)\.\n/.exec(page) ?? [];
  const idle = [...list.matchAll(/`(\w+)`\s\(([^)]+)\)/g)];
  expect(idle.length).toBeGreaterThan(10);
  for (const [, name, value] of idle) {
    const body = { prompt: 'a', max_tokens: 1 };
    expect((await server.post('/v1/completions', { ...body, [name!]: JSON.parse(value!) })).status).toBe(200);
    const refused = await readAnswer(server.post('/v1/completions', { ...body, [name!]: 'otherwise' }));
    expect(refused.error.message).toBe(`${name} is not supported; only ${value}, which changes nothing, is accepted`);
  }
  await server.close();
});
