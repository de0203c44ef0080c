// Prompts and conversations as tokens, and tokens as JSON can show them.
import { describe, expect, it } from 'vitest';
import { Tokenizer, trainTokenizer } from '#runtime/tokenizer/main.ts';
import { codecOf, tokenText } from './codec.ts';

const text = 'user: hello there\nassistant: general\n'.repeat(20);
const tokenizer = await trainTokenizer([text], { vocabularySize: 290 });

describe('codecOf', () => {
  it('encodes a conversation by the plain default, ending where the answer begins', () => {
    const codec = codecOf(tokenizer, 1000);
    const ids = codec.encodeChat([
      { role: 'user', content: 'hello' },
      { role: 'assistant', content: 'there' },
      { role: 'user', content: 'é' },
    ]);
    expect(tokenizer.decode(ids)).toBe('user: hello\nassistant: there\nuser: é\nassistant:');
  });

  it("encodes a conversation by the model's own template, with the special tokens that it spells", () => {
    const chatTemplate = '{% for m in messages %}{{ m.content }}<|endoftext|>{% endfor %}';
    const own = Tokenizer.fromJson(tokenizer.toJson(), { chatTemplate });
    const ids = codecOf(own, 1000).encodeChat([{ role: 'user', content: 'hello' }]);
    expect(ids.at(-1)).toBe(own.eos);
    expect(own.decode(ids)).toBe('hello<|endoftext|>');
  });

  it('starts from the end-of-text token where the prompt is empty', () => {
    expect(codecOf(tokenizer, 1000).encode('')).toEqual([tokenizer.eos]);
  });

  it('refuses a text that cannot fit before encoding it, and encodes the longest that may', () => {
    const codec = codecOf(tokenizer, 10);
    const longest = Math.max(...Array.from({ length: tokenizer.vocabularySize }, (_, id) => tokenizer.token(id).length));
    expect(() => codec.encode('x'.repeat(10 * longest + 1))).toThrow('the prompt has at least 11 tokens; the context has 10');
    expect(codec.encode('x'.repeat(10 * longest)).length).toBeGreaterThan(10);
  });
});

describe('tokenText', () => {
  it('shows whole characters as text and parts of them as bytes', () => {
    expect(tokenText(Buffer.from('é'))).toBe('é');
    expect(tokenText(Buffer.from('é').subarray(0, 1))).toBe('bytes:\\xc3');
    expect(tokenText(Buffer.from('\ufeffa'))).toBe('\ufeffa');
  });
});
