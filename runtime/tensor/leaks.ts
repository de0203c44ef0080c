// Finds tensors that nobody disposed of.
import { liveTensors } from '#kernels/binding.ts';

/** Tensors alive in this process, on all devices. */
export function liveTensorCount(): number {
  return liveTensors().length;
}

/** Runs `fn` and throws if more tensors live after it than before, with the labels of those that are left. For tests. */
export async function expectNoLeaks<T>(fn: () => T | Promise<T>): Promise<T> {
  const before = new Set(liveTensors().map((tensor) => tensor.handle));
  const result = await fn();
  const left = liveTensors().filter((tensor) => !before.has(tensor.handle));
  if (left.length === 0) return result;
  const labels = left.map((tensor) => `${tensor.label} [${tensor.shape.join(', ')}]`);
  throw new Error(`${left.length} tensors were not disposed of: ${labels.slice(0, 20).join('; ')}`);
}
