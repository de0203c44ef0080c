// Writes the Node-API side of the operations: one function each that reads its arguments and calls the C ABI, and their table.
import type { Arg, Op } from './op-table.ts';

/** The text of kernels/node/ops.gen.inc, included by kernels/node/addon.c, whose `read_*` helpers it uses. */
export function glueOf(ops: readonly Op[], notice: string): string {
  const table = ops.map((op) => `    {"${op.name}", op_${op.name}},`).join('\n');
  return `// One function for each operation: reads the arguments, calls the C ABI. ${notice}

${ops.map(functionOf).join('\n\n')}

static const struct {
  const char* name;
  napi_callback call;
} op_functions[] = {
${table}
};
`;
}

function functionOf(op: Op): string {
  const count = op.args.length + 1;
  const reads = op.args.flatMap((arg, at) => readOf(op, arg, at + 1));
  const values = op.args.map((arg) => (arg.kind === 'list' ? `${arg.name}, ${arg.name}_count` : arg.name));
  return `static napi_value op_${op.name}(napi_env env, napi_callback_info info) {
  static const char op[] = "${op.name}";
  napi_value argv[${count}];
  if (!read_arguments(env, info, op, ${count}, argv)) return NULL;
  wl_stream on;
  if (!read_stream(env, op, argv[0], &on)) return NULL;
${reads.map((line) => `  ${line}`).join('\n')}
  if (wl_${op.name}(${['on', ...values].join(', ')}) != WL_OK) throw_last(env);
  return NULL;
}`;
}

function readOf(op: Op, arg: Arg, at: number): string[] {
  const failed = 'return NULL;';
  const read = (reader: string, ...out: string[]) =>
    `if (!${reader}(env, op, "${arg.name}", argv[${at}], ${out.join(', ')})) ${failed}`;
  if (arg.kind === 'tensor') {
    return [`wl_tensor ${arg.name};`, read(arg.optional ? 'read_optional_tensor' : 'read_tensor', `&${arg.name}`)];
  }
  if (arg.kind === 'list') {
    return [
      `const wl_tensor* ${arg.name};`,
      `int64_t ${arg.name}_count;`,
      read('read_list', `&${arg.name}`, `&${arg.name}_count`),
    ];
  }
  return arg.type === 'i64'
    ? [`int64_t ${arg.name};`, read('read_i64', `&${arg.name}`)]
    : [`float ${arg.name};`, read('read_f32', `&${arg.name}`)];
}
