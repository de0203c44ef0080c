// Which types the cache of keys and values may have.
import { WindlassError } from '#runtime/api/errors.ts';
import { cacheTypes } from '#runtime/tensor/main.ts';
import type { CacheType } from '#runtime/tensor/main.ts';

/** f32 where nothing is asked for. Throws WL_MANIFEST_INVALID for a name that is no type, with the list of those that are. */
export function cacheTypeOf(name = 'f32'): CacheType {
  const type = cacheTypes.find((known) => known === name);
  if (type) return type;
  throw new WindlassError('WL_MANIFEST_INVALID', `spec.engine.cacheType: ${name}; known are ${cacheTypes.join(', ')}`);
}
