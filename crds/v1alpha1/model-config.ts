// What a TrainingJob trains: the architecture of a new model, or the folder of one to continue from.
import { z } from 'zod';
import { withRules } from '../rules.ts';
import { Digest, digestNeeded, digestRule, oneOfPatterns, remoteFolderPattern, secretRule, SecretReference } from './remote.ts';

const maxDim = 1_048_576;

/** Folders and files on the machine or in a mounted volume. */
export const pathPattern = /^(file:\/\/\/.+|[^:]+)$/;

/** Folders of models: those, and folders on servers. */
export const modelFolderPattern = oneOfPatterns(/file:\/\/\/.+/, remoteFolderPattern, /[^:]+/);
export const notAModelFolder = 'must be a path, file:///PATH or https://HOST/PATH/';

const ModelConfig = withRules(
  z
    .strictObject({
      hiddenSize: z.int().min(1).max(maxDim).describe('Width of the residual stream.'),
      layers: z.int().min(1).max(4096).describe('Number of blocks.'),
      heads: z.int().min(1).max(4096).describe('Query heads; must divide hiddenSize.'),
      kvHeads: z
        .int()
        .min(1)
        .max(4096)
        .optional()
        .describe('Key and value heads (grouped attention, llama only); must divide heads. As many as heads if absent.'),
      intermediateSize: z
        .int()
        .min(1)
        .max(maxDim)
        .optional()
        .describe(
          'Width inside the MLP. If absent: gpt2 4 x hiddenSize; llama 8/3 x hiddenSize, rounded up to a multiple of 16.',
        ),
      contextLength: z
        .int()
        .min(2)
        .max(maxDim)
        .optional()
        .describe('Longest sequence that the model takes. The length of a training sequence if absent.'),
      tieEmbeddings: z.boolean().default(true).describe('Whether input and output embeddings are one matrix.'),
      normEpsilon: z.number().gt(0).max(1).default(1e-5).describe('Added to the variance in norms.'),
      ropeTheta: z.number().gt(0).max(1e12).optional().describe('Base of the rotary embedding (llama only). 10000 if absent.'),
      dropout: z
        .number()
        .min(0)
        .lt(1)
        .default(0)
        .describe('Dropout of embeddings and of what each block adds to the residual stream (gpt2 only).'),
    })
    .describe('Sizes and switches of the architecture.'),
  [
    {
      cel: 'self.hiddenSize % self.heads == 0',
      holds: (self) => self.hiddenSize % self.heads === 0,
      message: 'heads must divide hiddenSize',
      path: ['heads'],
    },
    {
      cel: '!has(self.kvHeads) || self.heads % self.kvHeads == 0',
      holds: (self) => self.kvHeads === undefined || self.heads % self.kvHeads === 0,
      message: 'kvHeads must divide heads',
      path: ['kvHeads'],
    },
  ],
);

const ModelSourceFields = withRules(
  z
    .strictObject({
      family: z.enum(['gpt2', 'llama']).optional().describe('Architecture of a new model.'),
      config: ModelConfig.optional(),
      from: z
        .string()
        .min(1)
        .max(4096)
        .regex(modelFolderPattern, notAModelFolder)
        .optional()
        .describe(
          'Folder of a model in Hugging Face layout (gpt2 or llama) whose training goes on, instead of family and config. On a server it has a list SHA256SUMS of its files.',
        ),
      digest: Digest.optional().describe(
        'sha256 of the sorted SHA256SUMS of the folder on the server, as ModelVersions have it.',
      ),
      secretRef: SecretReference.optional(),
    })
    .describe('The model: family and config for a new one, or from.'),
  [
    {
      cel: 'has(self.family) != has(self.from)',
      holds: (self) => (self.family === undefined) !== (self.from === undefined),
      message: 'set either family (with config) or from',
    },
    digestNeeded('from'),
    digestRule('from'),
    secretRule('from'),
    {
      cel: 'has(self.family) == has(self.config)',
      holds: (self) => (self.family === undefined) === (self.config === undefined),
      message: 'family and config go together',
      path: ['config'],
    },
    {
      cel: "!has(self.family) || !has(self.config) || self.family != 'gpt2' || (!has(self.config.kvHeads) && !has(self.config.ropeTheta))",
      holds: (self) => self.family !== 'gpt2' || (self.config?.kvHeads === undefined && self.config?.ropeTheta === undefined),
      message: 'kvHeads and ropeTheta are of family llama only',
      path: ['config'],
    },
    {
      cel: "!has(self.family) || !has(self.config) || self.family != 'llama' || self.config.dropout == 0.0",
      holds: (self) => self.family !== 'llama' || (self.config?.dropout ?? 0) === 0,
      message: 'dropout is of family gpt2 only',
      path: ['config'],
    },
  ],
);

type ModelConfig = z.output<typeof ModelConfig>;
type ModelFamily = 'gpt2' | 'llama';

/** A new model by family and config, or an existing folder. */
export type ModelSource =
  | { family: ModelFamily; config: ModelConfig; from?: undefined; digest?: undefined; secretRef?: undefined }
  | { family?: undefined; config?: undefined; from: string; digest?: string; secretRef?: { name: string } };

export const ModelSource = ModelSourceFields as unknown as z.ZodType<ModelSource, z.input<typeof ModelSourceFields>>;
