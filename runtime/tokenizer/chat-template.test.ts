import { describe, expect, it } from 'vitest';
import { createChatTemplate } from './chat-template.ts';
import { formatTokenizerConfig, parseTokenizerConfig } from './tokenizer-config.ts';

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Who are you?' },
];
const chatml = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`;

describe('chat templates', () => {
  it('a template of the model renders with its tokens', () => {
    const template = createChatTemplate({ chatTemplate: `{{ bos_token }}${chatml}`, bosToken: '<s>' });
    expect(template.own).toBe(true);
    expect(template.render(messages)).toBe(
      '<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(template.render(messages.slice(1), { addGenerationPrompt: false })).toBe(
      '<s><|im_start|>user\nWho are you?<|im_end|>\n',
    );
  });

  it('without a template the messages stand line by line', () => {
    const template = createChatTemplate({});
    expect(template.own).toBe(false);
    expect(template.render(messages)).toBe('system: Be brief.\nuser: Who are you?\nassistant:');
  });

  it('markup in a message is text, never template', () => {
    expect(createChatTemplate({}).render([{ role: 'user', content: '{{ 1 + 1 }}{% raw %}' }])).toBe(
      'user: {{ 1 + 1 }}{% raw %}\nassistant:',
    );
  });

  it('what a template raises is a refused request with its words', () => {
    const template = createChatTemplate({ chatTemplate: `{{ raise_exception('roles must alternate') }}` });
    expect(() => template.render(messages)).toThrow(
      expect.objectContaining({ code: 'WL_REQUEST_INVALID', message: expect.stringContaining('roles must alternate') }),
    );
  });

  it.each([
    ['broken syntax', '{% for x in messages %}'],
    ['more than the limit', 'x'.repeat(70_000)],
  ])('refuses a template with %s', (_name, chatTemplate) => {
    expect(() => createChatTemplate({ chatTemplate })).toThrow(expect.objectContaining({ code: 'WL_TOKENIZER_INVALID' }));
  });

  it.each([
    ['loops without end', '{% for a in range(9999999999) %}{% endfor %}'],
    ['renders more than the limit', '{% for a in range(3000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}'],
  ])('refuses the request when the template %s', (_name, chatTemplate) => {
    const template = createChatTemplate({ chatTemplate });
    expect(() => template.render(messages, { maxRenderedCharacters: 100_000 })).toThrow(
      expect.objectContaining({ code: 'WL_REQUEST_INVALID' }),
    );
  });

  it('a template that took too long takes nothing from the next one', () => {
    const endless = createChatTemplate({ chatTemplate: '{% for a in range(9999999999) %}{% endfor %}' });
    const plain = createChatTemplate({});
    for (const content of ['one', 'two']) {
      expect(() => endless.render(messages)).toThrow('the chat template refused the messages');
      expect(plain.render([{ role: 'user', content }])).toBe(`user: ${content}\nassistant:`);
    }
  });

  it('refuses messages longer than the limit before it renders them', () => {
    const template = createChatTemplate({ chatTemplate: 'short' });
    expect(() => template.render(messages, { maxRenderedCharacters: 10 })).toThrow(/messages have 31 characters, more than 10/);
  });

  it('a template reaches nothing of the process', () => {
    for (const name of ['process', 'globalThis', 'constructor', 'require']) {
      expect(createChatTemplate({ chatTemplate: `[{{ ${name} }}]` }).render(messages)).toMatch(/^\[(undefined|)\]$/);
    }
  });
});

describe('tokenizer_config.json', () => {
  it('is read back as it was written', () => {
    const config = { bosToken: '<s>', eosToken: '</s>', padToken: '<pad>', chatTemplate: chatml };
    expect(parseTokenizerConfig(formatTokenizerConfig(config))).toEqual(config);
    expect(parseTokenizerConfig(formatTokenizerConfig({}))).toEqual({});
  });

  it.each([
    ['not JSON', '{', /not JSON/],
    ['a token of a wrong type', '{"eos_token": 5}', /eos_token/],
    ['a template of more than 64 KiB', JSON.stringify({ chat_template: 'x'.repeat(70_000) }), /70000 characters/],
  ])('refuses %s', (_name, text, message) => {
    expect(() => parseTokenizerConfig(text)).toThrow(
      expect.objectContaining({ code: 'WL_TOKENIZER_INVALID', message: expect.stringMatching(message) }),
    );
  });
});
