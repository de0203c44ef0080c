// What a TrainingJob trains: the architecture of a new model, or the folder of one to continue from.
import { z } from 'zod';
import { withRules } from '../rules.ts';
import { Digest, digestNeeded, digestRule, oneOfPatterns, remoteFolderPattern, secretRule, SecretReference } from './remote.ts';

const maxDim = 1_048_576;

/** Architectures of new models, as runtime/model has them. */
const families = ['gpt1', 'gpt2', 'gpt3', 'opt', 'bloom', 'llama', 'qwen2', 'qwen3', 'mistral', 'mixtral', 'gemma3'] as const;

/** Settings that only some families have. */
const settingsOf: readonly { readonly settings: readonly (keyof Settings)[]; readonly families: readonly ModelFamily[] }[] = [
  { settings: ['kvHeads', 'ropeTheta'], families: ['llama', 'qwen2', 'qwen3', 'mistral', 'mixtral', 'gemma3'] },
  { settings: ['headSize'], families: ['llama', 'qwen3', 'mistral', 'mixtral', 'gemma3'] },
  { settings: ['window'], families: ['gpt3', 'mistral', 'mixtral', 'gemma3'] },
  { settings: ['experts', 'expertsPerToken'], families: ['mixtral'] },
];
const familiesWithDropout: readonly ModelFamily[] = ['gpt1', 'gpt2', 'gpt3', 'opt', 'bloom'];
const familiesOfFourfold: readonly ModelFamily[] = ['gpt1', 'bloom'];

/** Folders of models: on the machine, in a mounted volume, or on servers. */
export const modelFolderPattern = oneOfPatterns(/file:\/\/\/.+/, remoteFolderPattern, /[^:]+/);
export const notAModelFolder = 'must be a path, file:///PATH or https://HOST/PATH/';

const ModelConfig = withRules(
  z
    .strictObject({
      hiddenSize: z.int().min(1).max(maxDim).describe('Width of the residual stream.'),
      layers: z.int().min(1).max(4096).describe('Number of blocks.'),
      heads: z.int().min(1).max(4096).describe('Query heads; must divide hiddenSize, unless headSize is given.'),
      kvHeads: z
        .int()
        .min(1)
        .max(4096)
        .optional()
        .describe(
          'Key and value heads (grouped attention; families with rotary positions); must divide heads. As many as heads if absent.',
        ),
      headSize: z
        .int()
        .min(1)
        .max(4096)
        .optional()
        .describe('Width of a head (llama, qwen3, mistral, mixtral, gemma3). hiddenSize / heads if absent.'),
      intermediateSize: z
        .int()
        .min(1)
        .max(maxDim)
        .optional()
        .describe(
          'Width inside the MLP, or inside each expert. If absent: 4 x hiddenSize (gpt1, gpt2, gpt3, opt, bloom), else 8/3 x hiddenSize, rounded up to a multiple of 16.',
        ),
      contextLength: z
        .int()
        .min(2)
        .max(maxDim)
        .optional()
        .describe('Longest sequence that the model takes. The length of a training sequence if absent.'),
      tieEmbeddings: z.boolean().default(true).describe('Whether input and output embeddings are one matrix.'),
      normEpsilon: z.number().gt(0).max(1).default(1e-5).describe('Added to the variance in norms.'),
      ropeTheta: z
        .number()
        .gt(0)
        .max(1e12)
        .optional()
        .describe('Base of the rotary embedding. If absent: 1000000 for qwen2, qwen3 and gemma3, else 10000.'),
      window: z
        .int()
        .min(1)
        .max(maxDim)
        .optional()
        .describe(
          'Keys that a query sees, its own the last. In all layers of mistral and mixtral (all keys if absent), in every other layer of gpt3 (256 if absent), in five of six of gemma3 (512 if absent).',
        ),
      experts: z.int().min(1).max(1024).optional().describe('Experts of each layer (mixtral). 8 if absent.'),
      expertsPerToken: z.int().min(1).max(64).optional().describe('Experts that each token goes to (mixtral). 2 if absent.'),
      dropout: z
        .number()
        .min(0)
        .lt(1)
        .default(0)
        .describe('Dropout of embeddings and of what each block adds to the residual stream (gpt1, gpt2, gpt3, opt, bloom).'),
    })
    .describe('Sizes and switches of the architecture.'),
  [
    {
      cel: 'has(self.headSize) || self.hiddenSize % self.heads == 0',
      holds: (self) => self.headSize !== undefined || self.hiddenSize % self.heads === 0,
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
      family: z.enum(families).optional().describe('Architecture of a new model.'),
      config: ModelConfig.optional(),
      from: z
        .string()
        .min(1)
        .max(4096)
        .regex(modelFolderPattern, notAModelFolder)
        .optional()
        .describe(
          'Folder of a model in Hugging Face layout, of any of the families, whose training goes on, instead of family and config. On a server it has a list SHA256SUMS of its files.',
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
    ...settingsOf.map(({ settings, families: allowed }) => ({
      cel: `!has(self.family) || !has(self.config) || self.family in ${listed(allowed)} || (${settings.map((name) => `!has(self.config.${name})`).join(' && ')})`,
      holds: ({ family, config }: Checked) =>
        family === undefined || allowed.includes(family) || settings.every((name) => config?.[name] === undefined),
      message: `${settings.join(' and ')} ${settings.length === 1 ? 'is' : 'are'} of ${named(allowed)} only`,
      path: ['config'],
    })),
    {
      cel: `!has(self.family) || !has(self.config) || self.family in ${listed(familiesWithDropout)} || self.config.dropout == 0.0`,
      holds: (self) =>
        self.family === undefined || familiesWithDropout.includes(self.family) || (self.config?.dropout ?? 0) === 0,
      message: `dropout is of ${named(familiesWithDropout)} only`,
      path: ['config'],
    },
    {
      cel: `!has(self.family) || !has(self.config) || !(self.family in ${listed(familiesOfFourfold)}) || !has(self.config.intermediateSize) || self.config.intermediateSize == 4 * self.config.hiddenSize`,
      holds: ({ family, config }) =>
        family === undefined ||
        !familiesOfFourfold.includes(family) ||
        config?.intermediateSize === undefined ||
        config.intermediateSize === 4 * config.hiddenSize,
      message: `intermediateSize is 4 x hiddenSize in ${named(familiesOfFourfold)}`,
      path: ['config'],
    },
  ],
);

type ModelConfig = z.output<typeof ModelConfig>;
type ModelFamily = (typeof families)[number];
type Settings = Pick<ModelConfig, 'kvHeads' | 'ropeTheta' | 'headSize' | 'window' | 'experts' | 'expertsPerToken'>;
type Checked = { readonly family?: ModelFamily | undefined; readonly config?: ModelConfig | undefined };

/** As a list in CEL. */
function listed(names: readonly ModelFamily[]): string {
  return `[${names.map((name) => `'${name}'`).join(', ')}]`;
}

function named(names: readonly ModelFamily[]): string {
  const last = names.at(-1) ?? '';
  return names.length === 1 ? `family ${last}` : `families ${names.slice(0, -1).join(', ')} and ${last}`;
}

/** A new model by family and config, or an existing folder. */
export type ModelSource =
  | { family: ModelFamily; config: ModelConfig; from?: undefined; digest?: undefined; secretRef?: undefined }
  | { family?: undefined; config?: undefined; from: string; digest?: string; secretRef?: { name: string } };

export const ModelSource = ModelSourceFields as unknown as z.ZodType<ModelSource, z.input<typeof ModelSourceFields>>;
