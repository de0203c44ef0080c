// Turns what zod finds in a manifest into faults that a person can mend: path, allowed values, nearest field name.
import type { z } from 'zod';
import type { Custom, Resource } from './resource.ts';

export interface Fault {
  /** Keys and indexes from the root of the object. */
  path: (string | number)[];
  /** Says what is wrong, what was found and what is allowed. */
  message: string;
}

export type Validated<T> = { ok: true; object: T } | { ok: false; faults: Fault[] };

/** Parses an object of a known kind: defaults are filled in, unknown fields are faults, and a field that is null is one that is absent. */
export function validate<Spec extends z.ZodType, Status extends z.ZodType>(
  resource: Resource<Spec, Status>,
  raw: unknown,
): Validated<Custom<z.output<Spec>, z.output<Status>>> {
  const parsed = resource.manifest.safeParse(raw, { reportInput: true });
  if (parsed.success) return { ok: true, object: parsed.data };
  const nulls = parsed.error.issues.map(({ path }) => path.map(String)).filter((path) => isNullField(raw, path));
  if (nulls.length > 0) return validate(resource, nulls.reduce(without, raw));
  return { ok: false, faults: parsed.error.issues.flatMap((issue) => faultsOf(issue, resource.manifest, raw)) };
}

/** Of an object or a map: an API server takes null for absence there, but not in a list. */
function isNullField(raw: unknown, path: readonly string[]): boolean {
  return path.length > 0 && valueAt(raw, path) === null && !Array.isArray(valueAt(raw, path.slice(0, -1)));
}

/** A copy that lacks the field. */
function without(value: unknown, [key = '', ...rest]: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item: unknown, index) => (String(index) === key ? without(item, rest) : item));
  const fields = Object.entries(value).flatMap(([name, inner]) => {
    if (name !== key) return [[name, inner]];
    return rest.length === 0 ? [] : [[name, without(inner, rest)]];
  });
  return Object.fromEntries(fields) as unknown;
}

/** `spec.task.pretrain.steps`, `spec.podTemplate.tolerations[0].key`. */
export function formatPath(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? key : `${text}.${key}`),
    '',
  );
}

/** `spec.model.family: must be one of gpt2, llama; got "gtp2"`. */
export function formatFault(fault: Fault): string {
  return fault.path.length === 0 ? fault.message : `${formatPath(fault.path)}: ${fault.message}`;
}

function faultsOf(issue: z.core.$ZodIssue, root: z.ZodType, raw: unknown): Fault[] {
  const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(shapeAt(root, path) ?? {});
    return issue.keys.map((key) => ({ path: [...path, key], message: unknownField(key, known) }));
  }
  if (issue.code === 'invalid_key') {
    const inner = issue.issues[0];
    return [{ path, message: `the key ${inner?.message ?? 'is not allowed'}` }];
  }
  if (issue.code === 'invalid_union') {
    const branch = issue.errors.find((issues) => issues.some((inner) => inner.code === 'invalid_format')) ?? issue.errors[0];
    const inner = branch?.[0];
    if (inner) return [{ path, message: describe(inner, valueAt(raw, path)) }];
  }
  return [{ path, message: describe(issue, valueAt(raw, path)) }];
}

function unknownField(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  const allowed = known.length > 0 ? `; allowed here: ${known.join(', ')}` : '';
  return `unknown field${near ? `, did you mean ${near}?` : ''}${allowed}`;
}

const typeNames: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map of fields',
  record: 'a map',
  array: 'a list',
};

function describe(issue: z.core.$ZodIssue, value: unknown): string {
  if (issue.code === 'invalid_type') {
    const wanted = typeNames[issue.expected] ?? issue.expected;
    return value === undefined ? `is required: ${wanted}` : `must be ${wanted}; got ${show(value)}`;
  }
  if (issue.code === 'invalid_value') {
    const allowed = issue.values.map(String);
    if (value === undefined) return `is required: ${allowed.length === 1 ? allowed[0] : `one of ${allowed.join(', ')}`}`;
    const near = typeof value === 'string' ? nearest(value, allowed) : undefined;
    const must = allowed.length === 1 ? `must be ${allowed[0]}` : `must be one of ${allowed.join(', ')}`;
    return `${must}; got ${show(value)}${near && allowed.length > 1 ? `, did you mean ${near}?` : ''}`;
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') return outOfRange(issue, value);
  if (issue.code === 'invalid_format') return `${issue.message}; got ${show(value)}`;
  return issue.message;
}

function outOfRange(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig, value: unknown): string {
  const small = issue.code === 'too_small';
  const limit = small ? issue.minimum : issue.maximum;
  if (issue.origin === 'string') {
    if (small && Number(limit) === 1) return 'must not be empty';
    return `must have at ${small ? 'least' : 'most'} ${limit} characters; got ${String(value).length}`;
  }
  if (issue.origin === 'array') return `must have at ${small ? 'least' : 'most'} ${limit} entries`;
  const relation = issue.inclusive ? (small ? 'at least' : 'at most') : small ? 'greater than' : 'less than';
  return `must be ${relation} ${limit}; got ${show(value)}`;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 64 ? `${text.slice(0, 61)}...` : text;
}

function valueAt(raw: unknown, path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined),
    raw,
  );
}

/** What a schema is below optional, default and prefault. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const def = schema._zod.def as { innerType?: z.core.$ZodType };
  return def.innerType ? unwrap(def.innerType) : schema;
}

/** Fields of the object schema at a path. */
function shapeAt(schema: z.core.$ZodType, path: readonly (string | number)[]): Record<string, z.core.$ZodType> | undefined {
  const inner = unwrap(schema);
  const def = inner._zod.def as {
    shape?: Record<string, z.core.$ZodType>;
    element?: z.core.$ZodType;
    valueType?: z.core.$ZodType;
  };
  const [key, ...rest] = path;
  if (key === undefined) return def.shape;
  const next = def.shape?.[key] ?? def.element ?? def.valueType;
  return next ? shapeAt(next, rest) : undefined;
}

/** The candidate that differs least from `word`, if it is near enough to be meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  let best: { name: string; distance: number } | undefined;
  for (const name of candidates) {
    const distance = editDistance(lower, name.toLowerCase());
    if (!best || distance < best.distance) best = { name, distance };
  }
  return best && best.distance <= Math.max(1, Math.floor(word.length / 3)) ? best.name : undefined;
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Infinity;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, beforeLast[j - 2]! + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
