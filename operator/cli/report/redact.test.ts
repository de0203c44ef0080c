import { describe, expect, it } from 'vitest';
import { createRedactor } from './redact.ts';
import { promisesSecret } from './secret-names.ts';

describe('a name', () => {
  it.each([
    'WL_SECRET',
    'HF_TOKEN',
    'token',
    'password',
    'DB_PASSWORD_HASH',
    'apiKey',
    'API_KEY',
    'AWS_SECRET_ACCESS_KEY',
    'client-key',
    '--auth-token',
    'Authorization',
    'X-Amz-Signature',
    'X-Amz-Credential',
    'sessionToken',
    'cookie',
  ])('%s promises a secret', (name) => expect(promisesSecret(name)).toBe(true));

  it.each([
    'tokenizer',
    'tokensPerSecond',
    'max_tokens',
    'completion_tokens',
    'eos_token',
    'pad_token',
    'secretName',
    'secretKeyRef',
    'imagePullSecrets',
    'serviceAccountName',
    'key',
    'sort_key',
    'WL_NAME',
    'tokenExpirationSeconds',
    'passes',
  ])('%s does not', (name) => expect(promisesSecret(name)).toBe(false));
});

describe('a text', () => {
  it.each([
    ['nats://ishmael:whale1851@bus:4222', 'nats://[redacted]@bus:4222'],
    ['GET https://s3/x?part=1&X-Amz-Signature=abcdef0123&n=2', 'GET https://s3/x?part=1&X-Amz-Signature=[redacted]&n=2'],
    ['Authorization: Bearer abc.def.ghi', 'Authorization: [redacted]'],
    ['{"authorization":"Basic aXNobWFlbA==","n":1}', '{"authorization":"[redacted]","n":1}'],
    ['sent with bearer 0123456789abcdef', 'sent with bearer [redacted]'],
    ['got eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl back', 'got [redacted] back'],
    ['using hf_abcdefghijklmnop', 'using [redacted]'],
    ['{"password":"call me, ishmael","step":3}', '{"password":"[redacted]","step":3}'],
    [String.raw`value: "{\"apiKey\":\"abc def\",\"steps\":3}"`, String.raw`value: "{\"apiKey\":\"[redacted]\",\"steps\":3}"`],
    [
      'HF_TOKEN=abc windlass rank --auth-token xyz --steps 3',
      'HF_TOKEN=[redacted] windlass rank --auth-token [redacted] --steps 3',
    ],
    ['-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nrest', '[redacted]\nrest'],
    ['step 3: loss 5.1, tokensPerSecond: 6800, eos_token: </s>', 'step 3: loss 5.1, tokensPerSecond: 6800, eos_token: </s>'],
    ['see https://example.org/a?b=c and me@example.org', 'see https://example.org/a?b=c and me@example.org'],
  ])('%s becomes %s', (before, after) => expect(createRedactor().text(before)).toBe(after));
});

it.each(['a', 'a.', '--a', 'eyJ-', 'a:"', '://'])('a text of nothing but %j is read in one pass', (piece) => {
  const text = piece.repeat(1 << 16);
  expect(createRedactor().text(text)).toBe(text);
});

it('takes values of secret variables and fields out of an object, and out of all texts from then on', () => {
  const redactor = createRedactor();
  const pod = {
    metadata: {
      name: 'p',
      annotations: {
        'kubectl.kubernetes.io/last-applied-configuration': '{"token":"tell-tale"}',
        'windlass.dev/settings': '{"env":[{"name":"PIN","value":"1851"}]}',
      },
    },
    spec: {
      containers: [
        {
          args: ['serve', '--token', 'flag-value', '--port', '8080'],
          env: [
            { name: 'WL_SECRET', value: 'white-whale' },
            { name: 'WL_NAME', value: 'moby' },
            { name: 'HF_TOKEN', valueFrom: { secretKeyRef: { name: 'hub', key: 'token' } } },
          ],
        },
      ],
      tolerations: [{ key: 'gpu', value: 'yes' }],
    },
  };
  expect(redactor.object(pod)).toEqual({
    metadata: { name: 'p', annotations: {} },
    spec: {
      containers: [
        {
          args: ['serve', '--token', '[redacted]', '--port', '8080'],
          env: [
            { name: 'WL_SECRET', value: '[redacted]' },
            { name: 'WL_NAME', value: 'moby' },
            { name: 'HF_TOKEN', valueFrom: { secretKeyRef: { name: 'hub', key: 'token' } } },
          ],
        },
      ],
      tolerations: [{ key: 'gpu', value: 'yes' }],
    },
  });
  expect(redactor.text('ranks meet by white-whale and flag-value')).toBe('ranks meet by [redacted] and [redacted]');
});
