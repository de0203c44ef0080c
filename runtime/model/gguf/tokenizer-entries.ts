// What a GGUF file says about the tokenizer, from a tokenizer.json of the byte-level BPE kind.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '../config.ts';
import type { GgufValue } from './writer.ts';

/** llama.cpp's types of tokens. */
const tokenType = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;

interface TokenizerJson {
  readonly model?: {
    readonly type?: string;
    readonly vocab?: Record<string, number>;
    readonly merges?: readonly (string | readonly [string, string])[];
  };
  readonly added_tokens?: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly pre_tokenizer?: PreTokenizer | null;
  readonly post_processor?: PostProcessor | null;
}

interface PostProcessor {
  readonly type: string;
  readonly single?: readonly { readonly SpecialToken?: unknown }[];
  readonly processors?: readonly PostProcessor[];
}

interface PreTokenizer {
  readonly type: string;
  readonly use_regex?: boolean;
  readonly add_prefix_space?: boolean;
  readonly individual_digits?: boolean;
  readonly pattern?: { readonly Regex?: string };
  readonly pretokenizers?: readonly PreTokenizer[];
}

/**
 * The `tokenizer.ggml.*` entries. Ids without a token, up to the model's vocabulary, become unused tokens.
 * Throws WL_TOKENIZER_INVALID for another kind of tokenizer, WL_TOKENIZER_MISMATCH where it has more tokens than the model.
 */
export function ggufTokenizer(json: unknown, config: ModelConfig, file: string): Map<string, GgufValue> {
  const { model, added_tokens: added = [], pre_tokenizer: pre, post_processor: post } = json as TokenizerJson;
  if (model?.type !== 'BPE' || !model.vocab || !model.merges) throw unsupported(file, `model.type is ${model?.type}`);
  const size = config.vocabularySize;
  const tokens = Array.from({ length: size }, (_, id) => `[UNUSED${id}]`);
  const types = Array.from({ length: size }, (): number => tokenType.unused);
  const place = (id: number, token: string, type: number) => {
    if (!(Number.isInteger(id) && id >= 0 && id < size)) {
      throw new WindlassError(
        'WL_TOKENIZER_MISMATCH',
        `${file}: token ${JSON.stringify(token)} has id ${id}, the model has ${size} tokens`,
        {
          details: { file },
        },
      );
    }
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of Object.entries(model.vocab)) place(id, token, tokenType.normal);
  for (const { id, content, special } of added) place(id, content, special ? tokenType.control : tokenType.userDefined);
  const merges = model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')));
  const [eos] = config.eosTokenIds;
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: preTokenizerName(pre ?? undefined, file) }],
    ['tokenizer.ggml.tokens', { type: 'string[]', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'i32[]', value: types }],
    ['tokenizer.ggml.merges', { type: 'string[]', value: merges }],
    ...tokenId('bos', config.bosTokenId),
    ...tokenId('eos', eos),
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: addsBos(post) }],
  ]);
}

function tokenId(name: string, id: number | undefined): [string, GgufValue][] {
  return id === undefined ? [] : [[`tokenizer.ggml.${name}_token_id`, { type: 'u32', value: id }]];
}

/** Whether encoding puts a special token before every text. */
function addsBos(post: PostProcessor | null | undefined): boolean {
  return post?.single?.[0]?.SpecialToken !== undefined || (post?.processors?.some(addsBos) ?? false);
}

/** llama.cpp's name of the way text is cut into words before merging; it has one regular expression for each. */
function preTokenizerName(pre: PreTokenizer | undefined, file: string): string {
  const steps = pre?.type === 'Sequence' ? (pre.pretokenizers ?? []) : pre ? [pre] : [];
  const [first, second] = steps;
  const isByteLevel = (step: PreTokenizer | undefined, regex: boolean) =>
    step?.type === 'ByteLevel' && (step.use_regex ?? true) === regex && step.add_prefix_space !== true;
  if (steps.length === 1 && isByteLevel(first, true)) return 'gpt-2';
  if (steps.length === 2 && first?.type === 'Digits' && first.individual_digits === true && isByteLevel(second, true))
    return 'smollm';
  if (steps.length === 2 && first?.type === 'Split' && first.pattern?.Regex === llama3Pattern && isByteLevel(second, false))
    return 'llama-bpe';
  throw unsupported(file, `GGUF has no name for its pre_tokenizer ${JSON.stringify(pre)?.slice(0, 200)}`);
}

const llama3Pattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

function unsupported(file: string, what: string): WindlassError {
  return new WindlassError('WL_TOKENIZER_INVALID', `${file}: ${what}; only byte-level BPE can be exported`, {
    details: { file },
  });
}
