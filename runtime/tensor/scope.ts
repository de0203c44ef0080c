// Scopes: every tensor made inside one is freed when it ends, except what leaves it.
import { WindlassError } from '#runtime/api/errors.ts';
import { Tensor } from './tensor.ts';

/** The tensors of the innermost scope. Undefined: tensors belong to whoever makes them. */
let current: Set<Tensor> | undefined;

/** Puts a tensor without an owner's scope under the current one. */
export function adopt<T extends Tensor>(tensor: T): T {
  tensor.home = current;
  current?.add(tensor);
  return tensor;
}

/**
 * Runs `fn` and frees the tensors it made, except those in what it returns (looked for in arrays, plain objects, maps and sets),
 * which pass to the enclosing scope, and those a tape still needs. `fn` may return a promise of values read from tensors: reading
 * is enqueued before freeing. It may not be an async function, because what is made after an `await` would belong to no scope.
 */
export function scope<T>(fn: () => T): T {
  if (fn.constructor.name === 'AsyncFunction') {
    throw new WindlassError('WL_OP_INVALID', 'scope() takes no async function; read inside it and await what it returns');
  }
  const outer = current;
  const own = new Set<Tensor>();
  current = own;
  try {
    const result = fn();
    current = outer;
    visitTensors(result, (tensor) => {
      if (own.delete(tensor)) adopt(tensor);
    });
    return result;
  } finally {
    current = outer;
    for (const tensor of own) tensor.dispose();
  }
}

/** Takes the tensors in `value` out of their scope: the caller owns them and must dispose of them. */
export function keep<T>(value: T): T {
  visitTensors(value, (tensor) => tensor.takeOwnership());
  return value;
}

/** Runs `fn` outside all scopes: the tensors it makes belong to the caller. */
export function unscoped<T>(fn: () => T): T {
  const outer = current;
  current = undefined;
  try {
    return fn();
  } finally {
    current = outer;
  }
}

function visitTensors(value: unknown, visit: (tensor: Tensor) => void): void {
  if (typeof value !== 'object' || value === null) return;
  if (value instanceof Tensor) visit(value);
  else if (Array.isArray(value) || value instanceof Set) for (const item of value) visitTensors(item, visit);
  else if (value instanceof Map) for (const item of value.values()) visitTensors(item, visit);
  else if (Object.getPrototypeOf(value) === Object.prototype) for (const item of Object.values(value)) visitTensors(item, visit);
}
