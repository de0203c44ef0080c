// Parses the operation table of kernels/ops.ts into what the code generator needs: tensors with dims, lists, scalars, allowed aliases.
import { ops } from '../kernels/ops.ts';
import type { OpDeclaration } from '../kernels/ops.ts';

/** A dim of a tensor: a symbol that has one size within a call, or a literal size. */
type Dim = { readonly symbol: string } | { readonly size: number };

export type TensorArg = {
  readonly kind: 'tensor';
  readonly name: string;
  /** 'real' is f32 or bf16. */
  readonly dtype: 'f32' | 'real' | 'i32' | 'u8';
  readonly access: 'in' | 'out' | 'inout';
  readonly optional: boolean;
  /** The first dim stands for all leading dims folded into one. */
  readonly folds: boolean;
  readonly dims: readonly Dim[];
};
export type ListArg = { readonly kind: 'list'; readonly name: string };
export type ScalarArg = { readonly kind: 'scalar'; readonly name: string; readonly type: 'i64' | 'f32' };
export type Arg = TensorArg | ListArg | ScalarArg;

export type Op = {
  readonly name: string;
  readonly doc: string;
  readonly args: readonly Arg[];
  readonly tensors: readonly TensorArg[];
  readonly lists: readonly ListArg[];
  readonly scalars: readonly ScalarArg[];
  /** Dim symbols in order of first appearance. */
  readonly symbols: readonly string[];
  /** Pairs of tensors that may be one and the same: 'y may be x' in the doc. */
  readonly aliases: readonly (readonly [written: string, read: string])[];
  /** Conditions on symbols and scalars, C expressions, checked in order. */
  readonly needs: readonly string[];
};

export const opTable: readonly Op[] = Object.entries(ops).map(([name, declaration]) => parseOp(name, declaration));

/** Parses one declaration; throws where a form, an alias or a condition makes no sense. */
export function parseOp(name: string, declaration: OpDeclaration): Op {
  const args = declaration.args.map(([arg, form]) => parseArg(name, arg, form));
  const tensors = args.filter((arg) => arg.kind === 'tensor');
  const scalars = args.filter((arg) => arg.kind === 'scalar');
  const symbols = new Set(tensors.flatMap((tensor) => tensor.dims.flatMap((dim) => ('symbol' in dim ? [dim.symbol] : []))));
  const sequences = scalars.some((scalar) => scalar.name === 'length') ? ['length >= 1', 'M % length == 0'] : [];
  const units = scalars.some((scalar) => scalar.name === 'unit') ? ['unit >= 1'] : [];
  const spans = scalars.some((scalar) => scalar.name === 'spans')
    ? ['spans >= 1', 'spans <= 8', '(spans & (spans - 1)) == 0']
    : [];
  const needs = [...sequences, ...units, ...spans, ...(declaration.needs ?? [])];
  const aliases = aliasesOf(declaration.doc);
  for (const pair of aliases) {
    if (pair.some((alias) => !tensors.some((tensor) => tensor.name === alias))) {
      throw new Error(`${name}: the doc says that ${pair.join(' may be ')}, but there is no such tensor`);
    }
  }
  const known = new Set([...symbols, ...scalars.map((scalar) => scalar.name)]);
  for (const need of needs) {
    const unknown = identifiersOf(need).find((identifier) => !known.has(identifier));
    if (unknown) throw new Error(`${name}: ${unknown} in the condition ${need} is neither a dim nor a scalar`);
  }
  return {
    name,
    doc: declaration.doc,
    args,
    tensors,
    lists: args.filter((arg) => arg.kind === 'list'),
    scalars,
    symbols: [...symbols],
    aliases,
    needs,
  };
}

function parseArg(op: string, name: string, form: string): Arg {
  if (form === 'i64' || form === 'f32') return { kind: 'scalar', name, type: form };
  if (form === 'list f32') return { kind: 'list', name };
  const match = /^(in|out|inout)(\??) (f32\|bf16|f32|i32|u8) (.+)$/.exec(form);
  if (!match) throw new Error(`${op}: argument ${name} has the unknown form '${form}'`);
  const [, access, optional, dtype, shape = ''] = match;
  const words = shape.split(' ');
  return {
    kind: 'tensor',
    name,
    dtype: dtype === 'f32|bf16' ? 'real' : (dtype as TensorArg['dtype']),
    access: access as TensorArg['access'],
    optional: optional === '?',
    folds: shape.startsWith('...'),
    dims: words.map((word) => (/^\d+$/.test(word) ? { size: Number(word) } : { symbol: word.replace('...', '') })),
  };
}

function aliasesOf(doc: string): [string, string][] {
  return [...doc.matchAll(/(\w+) may be (\w+)(?: or (\w+))?/g)].flatMap(([, written = '', ...read]) =>
    read.filter((name) => name !== undefined).map((name): [string, string] => [written, name]),
  );
}

/** The names of values in a C expression; functions that it calls are not among them. */
export function identifiersOf(expression: string): string[] {
  return [...new Set(expression.match(/\b[A-Za-z_]\w*\b(?!\()/g) ?? [])];
}
