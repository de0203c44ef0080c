// The parameters of generation: which are honoured, which change nothing, and which are refused.
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';
import type { GenerateRequest } from '#runtime/engine/main.ts';
import type { ServerLimits } from './limits.ts';

/** Parameters without effect on the output; accepted whatever they say. */
const harmless = new Set(['user', 'metadata', 'safety_identifier', 'prompt_cache_key', 'service_tier']);

/** Parameters that are not built, with the value that asks for nothing. Any other value is refused. */
const neutral: Record<string, unknown> = {
  length_penalty: 1,
  best_of: 1,
  suffix: '',
  use_beam_search: false,
  store: false,
  tools: [],
  functions: [],
  tool_choice: 'none',
  function_call: 'none',
  parallel_tool_calls: true,
  response_format: { type: 'text' },
  modalities: ['text'],
  skip_special_tokens: true,
  add_generation_prompt: true,
};

/** Honoured by both protocols. */
export function commonParameters(limits: ServerLimits) {
  const stop = z
    .string()
    .min(1)
    .refine((text) => Buffer.byteLength(text) <= limits.stopBytes, {
      error: `Too big: expected at most ${limits.stopBytes} bytes`,
    });
  return {
    model: z.string().optional(),
    n: z.int().min(1).max(limits.n).default(1),
    stream: z.boolean().default(false),
    stream_options: z
      .strictObject({ include_usage: z.boolean().default(false), continuous_usage_stats: z.boolean().default(false) })
      .optional(),
    temperature: z.number().min(0).max(2).default(1),
    top_p: z.number().gt(0).max(1).default(1),
    /** 0 and -1 both keep all tokens. */
    top_k: z.int().min(-1).max(2_147_483_647).default(0),
    min_p: z.number().min(0).max(1).default(0),
    seed: z.int().optional(),
    stop: z
      .union([stop, z.array(stop).max(limits.stopStrings)], {
        error: `expected a text of 1 to ${limits.stopBytes} bytes, or at most ${limits.stopStrings} of them`,
      })
      .optional(),
    stop_token_ids: z.array(z.int()).max(limits.stopTokens).default([]),
    ignore_eos: z.boolean().default(false),
    min_tokens: z.int().min(0).default(0),
    logit_bias: biases(limits).optional(),
    presence_penalty: z.number().min(-2).max(2).default(0),
    frequency_penalty: z.number().min(-2).max(2).default(0),
    repetition_penalty: z.number().gt(0).max(100).default(1),
    prompt_logprobs: z.int().min(0).max(limits.topLogprobs).optional(),
  };
}

/** A schema that is made once for a table of limits: making one takes far longer than checking a body. */
export function madeOnce<S>(make: (limits: ServerLimits) => S): (limits: ServerLimits) => S {
  const made = new WeakMap<ServerLimits, S>();
  return (limits) => {
    const known = made.get(limits) ?? make(limits);
    made.set(limits, known);
    return known;
  };
}

/** Token ids stand as texts, since they are keys of an object. */
function biases(limits: ServerLimits) {
  return z
    .record(z.string().regex(/^\d{1,10}$/, 'expected token ids as keys'), z.number().min(-100).max(100))
    .refine((entries) => Object.keys(entries).length <= limits.biases, {
      error: `Too big: expected at most ${limits.biases} tokens`,
    })
    .transform((entries) => new Map(Object.entries(entries).map(([id, bias]) => [Number(id), bias])));
}

type CommonParameters = z.output<z.ZodObject<ReturnType<typeof commonParameters>>>;

/** The part of an engine request that the common parameters make. */
export function samplingOf(parameters: CommonParameters): Omit<GenerateRequest, 'prompt'> {
  const { stop } = parameters;
  return {
    n: parameters.n,
    temperature: parameters.temperature,
    topK: Math.max(0, parameters.top_k),
    topP: parameters.top_p,
    minP: parameters.min_p,
    ignoreEos: parameters.ignore_eos,
    stopTokens: parameters.stop_token_ids,
    minTokens: parameters.min_tokens,
    presencePenalty: parameters.presence_penalty,
    frequencyPenalty: parameters.frequency_penalty,
    repetitionPenalty: parameters.repetition_penalty,
    ...(parameters.logit_bias === undefined ? {} : { logitBias: parameters.logit_bias }),
    ...(parameters.prompt_logprobs === undefined ? {} : { promptLogprobs: parameters.prompt_logprobs }),
    ...(parameters.seed === undefined ? {} : { seed: parameters.seed }),
    ...(stop === undefined ? {} : { stop: typeof stop === 'string' ? [stop] : stop }),
  };
}

/**
 * Checks a body against the parameters of a protocol. A parameter that is null counts as absent. Throws WL_REQUEST_INVALID naming the
 * first parameter that is unknown, not supported or out of range.
 */
export function readParameters<S extends z.ZodObject>(schema: S, body: unknown): z.output<S> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new WindlassError('WL_REQUEST_INVALID', 'the body must be a JSON object');
  }
  const given = Object.entries(body).filter(([name, value]) => value !== null && !isIdle(name, value, schema));
  const parsed = schema.safeParse(Object.fromEntries(given));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const path = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
    refuse(String(issue.path[0] ?? ''), `${path.slice(1) || 'the body'}: ${issue.message}`);
  }
  const parameters = parsed.data as Partial<CommonParameters>;
  if (parameters.stream_options && !parameters.stream)
    refuse('stream_options', 'stream_options is for streams only; set stream: true');
  if (parameters.prompt_logprobs !== undefined && parameters.stream)
    refuse('prompt_logprobs', 'prompt_logprobs come with a whole answer only; set stream: false');
  return parsed.data;
}

/** Whether a parameter that the schema doesn't have may be left out without a difference. Throws if it may not. */
function isIdle(name: string, value: unknown, schema: z.ZodObject): boolean {
  if (Object.hasOwn(schema.shape, name)) return false;
  if (harmless.has(name)) return true;
  const shown = name.slice(0, 100);
  if (!Object.hasOwn(neutral, name)) refuse(shown, `unknown parameter ${shown}`);
  const idle = JSON.stringify(neutral[name]);
  if (JSON.stringify(value) !== idle)
    refuse(shown, `${shown} is not supported; only ${idle}, which changes nothing, is accepted`);
  return true;
}

export function refuse(param: string, message: string): never {
  throw new WindlassError('WL_REQUEST_INVALID', message, { details: { param } });
}
