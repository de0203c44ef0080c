// What a checkpoint belongs to: the digest of all that makes a training the one that it is. A checkpoint of another digest is refused.
import { createHash } from 'node:crypto';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { ModelConfig } from '#runtime/model/main.ts';

export interface JobIdentity {
  readonly config: ModelConfig;
  /** Key of the tokens, which names texts and tokenizer. */
  readonly tokensKey: string;
  readonly tokenizerDigest: string;
  readonly spec: Pick<TrainingJobSpec, 'data' | 'task' | 'precision'>;
}

/**
 * sha256 in hex, the same in every release: jobs train on from their checkpoints through an upgrade and back again. So what a new release adds must
 * be left out here where it is not used, and fields keep their places, whatever code lists them.
 */
export function jobDigest({ config, tokensKey, tokenizerDigest, spec }: JobIdentity): string {
  const identity = {
    model: inOrder(config),
    data: [tokensKey, spec.data.heldOut],
    tokenizer: tokenizerDigest,
    task: spec.task,
    ...(spec.precision === 'bf16' ? { precision: spec.precision } : {}),
  };
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex');
}

const sizes = ['vocabularySize', 'contextLength', 'hiddenSize', 'layers', 'heads', 'kvHeads', 'headSize', 'intermediateSize'];
const rest = ['tieEmbeddings', 'dropout', 'initializerRange', 'bosTokenId', 'eosTokenIds'];
const order = ['family', ...sizes, 'norm', 'positions', 'mlp', 'bias', ...rest];
const orderOfGpt2 = ['family', 'positions', 'bias', ...sizes, 'norm', 'mlp', ...rest];

/** The fields that the first release had in its order, then the others by name. */
function inOrder(config: ModelConfig): object {
  const first = config.family === 'gpt2' ? orderOfGpt2 : order;
  const place = (name: string): number => (first.includes(name) ? first.indexOf(name) : first.length);
  return Object.fromEntries(Object.entries(config).sort(([a], [b]) => place(a) - place(b) || (a < b ? -1 : 1)));
}
