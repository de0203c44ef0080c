// Rules that a field's type can't say: each is a CEL expression for the API server with a function twin for everybody else.
import { z } from 'zod';

export interface Rule<T = unknown> {
  /** CEL over `self`. */
  cel: string;
  /** The same over parsed values. */
  holds: (self: T) => boolean;
  /** What is wrong and what to do. */
  message: string;
  /** The same with the values at hand: a CEL expression and its twin. */
  detail?: { cel: string; text: (self: T) => string };
  /** Where the fault is reported, relative to where the rule stands. */
  path?: string[];
}

/** A rule over the old and the new spec, checked on every update. */
export interface TransitionRule {
  cel: string;
  holds: (self: unknown, oldSelf: unknown) => boolean;
  message: string;
  path: string[];
}

const celKey = 'x-kubernetes-validations';

/** The same schema with rules: zod checks the twin, the CRD gets the CEL. */
export function withRules<S extends z.ZodType>(schema: S, rules: readonly Rule<z.output<S>>[]): S {
  let checked: S = schema;
  for (const { holds, detail, message, path = [] } of rules) {
    const error = detail ? ({ input }: { input?: unknown }) => detail.text(input as z.output<S>) : message;
    checked = checked.refine((value) => holds(value), { error, path });
  }
  const validations = rules.map(({ cel, message, detail, path }) => ({
    ...celEntry(cel, message, path),
    ...(detail ? { messageExpression: detail.cel } : {}),
  }));
  const before = (schema.meta()?.[celKey] as unknown[] | undefined) ?? [];
  return checked.meta({ ...schema.meta(), [celKey]: [...before, ...validations] });
}

/** An entry of `x-kubernetes-validations`. */
export function celEntry(rule: string, message: string, path: string[] | undefined): Record<string, string> {
  return path && path.length > 0 ? { rule, message, fieldPath: `.${path.join('.')}` } : { rule, message };
}

/** Exactly one of the members: `{a: A} | {b: B}`. */
export type OneOf<Members extends Record<string, unknown>> = {
  [K in keyof Members]: { [P in K]: Members[P] } & { [Q in Exclude<keyof Members, K>]?: undefined };
}[keyof Members];

type Shape = Record<string, z.ZodType>;

/** A tagged union as sibling optional members of which exactly one must be set: the only union that a structural schema can say. */
export function oneOfMembers<S extends Shape>(
  members: S,
): z.ZodType<OneOf<{ [K in keyof S]: z.output<S[K]> }>, OneOf<{ [K in keyof S]: z.input<S[K]> }>> {
  return unionOf(members, {}) as unknown as ReturnType<typeof oneOfMembers<S>>;
}

/** The same with fields that may stand beside any of the members. */
export function oneOfMembersWith<S extends Shape, B extends Shape>(
  members: S,
  beside: B,
): z.ZodType<
  OneOf<{ [K in keyof S]: z.output<S[K]> }> & { [K in keyof B]?: z.output<B[K]> },
  OneOf<{ [K in keyof S]: z.input<S[K]> }> & { [K in keyof B]?: z.input<B[K]> }
> {
  return unionOf(members, beside) as unknown as ReturnType<typeof oneOfMembersWith<S, B>>;
}

function unionOf(members: Shape, beside: Shape) {
  const names = Object.keys(members);
  const optional = Object.fromEntries(
    Object.entries({ ...members, ...beside }).map(([name, schema]) => [name, schema.optional()]),
  );
  const present = names.map((name) => `has(self.${name})`);
  return withRules(z.strictObject(optional), [
    {
      cel: present.length === 1 ? present.join() : `[${present.join(', ')}].filter(set, set).size() == 1`,
      holds: (self) => names.filter((name) => self[name] !== undefined).length === 1,
      message: names.length === 1 ? `set ${names.join()}` : `set exactly one of ${names.join(', ')}`,
    },
  ]);
}

/** A map of at most `max` entries. A structural schema can't describe keys: a rule does. */
export function boundedMap<V extends z.ZodType>(key: z.ZodString, value: V, max: number) {
  const { pattern, maxLength } = z.toJSONSchema(key);
  const bounds = [
    ...(maxLength === undefined ? [] : [`key.size() <= ${maxLength}`]),
    ...(pattern === undefined ? [] : [`key.matches(${JSON.stringify(pattern.replaceAll('\\/', '/'))})`]),
  ];
  const message = `a key has more than ${maxLength} characters${pattern === undefined ? '' : ' or is not of the right form'}`;
  return z
    .record(key, value)
    .refine((map) => Object.keys(map).length <= max, `must have at most ${max} entries`)
    .meta({ maxProperties: max, [celKey]: [celEntry(`self.all(key, ${bounds.join(' && ')})`, message, undefined)] });
}

/** Names of fields: those that every stored spec has, by requirement or default, and those that it may lack. */
export interface FieldNames {
  readonly always: readonly string[];
  readonly optional: readonly string[];
}

/** Fields of a spec that never change after creation. */
export function immutableFields(fields: FieldNames, advice: string): TransitionRule[] {
  return unchangedFields(fields).map(({ field, cel }) => ({
    cel,
    holds: (self, oldSelf) => unchanged(field, self, oldSelf),
    message: `${field} can't change after creation; ${advice}`,
    path: [field],
  }));
}

/** Fields of a spec that change only while `suspend` is true, before or after the change. */
export function fieldsFrozenWhileRunning(fields: FieldNames): TransitionRule[] {
  const suspended = (spec: unknown) => (spec as { suspend?: boolean }).suspend === true;
  return unchangedFields(fields).map(({ field, cel }) => ({
    cel: `${cel} || self.suspend || oldSelf.suspend`,
    holds: (self, oldSelf) => suspended(self) || suspended(oldSelf) || unchanged(field, self, oldSelf),
    message: `${field} can't change while the job runs; set suspend: true first`,
    path: [field],
  }));
}

/**
 * Expressions that hold where a field is as it was. They are evaluated at each write of a status too, and each look at a field makes the API
 * server copy the schema of the whole spec: so there are as few looks as can be.
 */
const unchangedFields = ({ always, optional }: FieldNames) => [
  ...always.map((field) => ({ field, cel: `self.${field} == oldSelf.${field}` })),
  ...optional.map((field) => {
    const [now, before] = [`has(self.${field})`, `has(oldSelf.${field})`];
    return { field, cel: `(!${now} && !${before}) || (${now} && ${before} && self.${field} == oldSelf.${field})` };
  }),
];

function unchanged(field: string, self: unknown, oldSelf: unknown): boolean {
  return deepEqual((self as Record<string, unknown>)[field], (oldSelf as Record<string, unknown>)[field]);
}

/** Equality of JSON values; the order of keys doesn't matter, an absent key equals an undefined one. */
export function deepEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, index) => deepEqual(item, b[index]));
  }
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => deepEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}
