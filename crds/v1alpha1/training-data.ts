// What a TrainingJob learns from: texts and the tokenizer that reads them.
import { z } from 'zod';
import { oneOfMembersWith, withRules } from '../rules.ts';
import {
  Digest,
  digestNeeded,
  digestRule,
  oneOfPatterns,
  remoteDataPattern,
  remoteTokenizerPattern,
  secretRule,
  SecretReference,
} from './remote.ts';

const dataUriPattern = oneOfPatterns(/sample:\/\/[a-z0-9]([-a-z0-9]*[a-z0-9])?/, /file:\/\/\/.+/, remoteDataPattern, /[^:]+/);
/** Over http anybody on the way can change the bytes, and the list of a folder says what its files are, but not that they are the right ones. */
const needsDigest = /^(http:|https:[^?]*\/([?]|$))/;

const tokenizerPattern = oneOfPatterns(/file:\/\/\/.+/, remoteTokenizerPattern, /[^:]+/);

const tokenizers = {
  train: z
    .strictObject({
      vocabularySize: z
        .int()
        .min(257)
        .max(1_000_000)
        .describe('Tokens of the vocabulary: 256 bytes, the end-of-text token, and merges.'),
    })
    .describe('Trains a byte-level BPE tokenizer on the data.'),
  uri: z
    .string()
    .min(1)
    .max(4096)
    .regex(
      tokenizerPattern,
      'must be a path, file:///PATH, or https://HOST/PATH of a .json or .gguf file or of a folder, with / at the end',
    )
    .describe(
      'A tokenizer.json, a folder that holds one, or a GGUF file with a byte-level BPE: a path, file:///PATH or https://HOST/PATH. A folder on a server ends with / and has a list SHA256SUMS of its files.',
    ),
};

const besideTokenizer = {
  digest: Digest.describe(
    'sha256 of the file on the server, or of the sorted SHA256SUMS of the folder. Needed for what is on a server.',
  ),
  secretRef: SecretReference,
};

const Tokenizer = withRules(oneOfMembersWith(tokenizers, besideTokenizer), [
  digestNeeded('uri', 'a tokenizer'),
  digestRule('uri'),
  secretRule('uri'),
]).describe("The tokenizer. The model's own if absent, which needs model.from.");

const Fields = z
  .strictObject({
    uri: z
      .string()
      .min(1)
      .max(4096)
      .regex(
        dataUriPattern,
        'must be sample://NAME, file:///PATH, a path, or https://HOST/PATH of a .txt, .jsonl, .tar, .tar.gz or .tgz file or of a folder, with / at the end',
      )
      .describe(
        'A .txt or .jsonl file or a folder of them: a path, file:///PATH, https://HOST/PATH, or sample://NAME for a text that comes with the installation. On a server it may also be a .tar, .tar.gz or .tgz of such files. A folder there ends with / and has a list SHA256SUMS of its files.',
      ),
    digest: Digest.optional().describe(
      'sha256 of the file on the server, or of the sorted SHA256SUMS of the folder. Needed for a folder and for http; best always.',
    ),
    secretRef: SecretReference.optional(),
    field: z.string().min(1).max(256).default('text').describe('Field of each line that holds the text, in .jsonl files.'),
    heldOut: z.number().min(0).max(0.5).default(0.05).describe('Share of the data that is kept for evaluation, 0 to 0.5.'),
    tokenizer: Tokenizer.optional(),
  })
  .describe('What the model learns from.');

export const TrainingData = withRules(Fields, [
  {
    cel: `!self.uri.matches('${needsDigest.source.replaceAll('\\/', '/')}') || has(self.digest)`,
    holds: ({ uri, digest }) => digest !== undefined || !needsDigest.test(uri),
    message: 'data over http, or from a folder on a server, needs digest: sha256:...',
    path: ['digest'],
  },
  digestRule('uri'),
  secretRule('uri'),
]);
export type TrainingData = z.output<typeof TrainingData>;
