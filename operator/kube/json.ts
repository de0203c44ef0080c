// JSON values: freezing, and the merge patch of RFC 7386.
import { deepEqual } from '#crds/rules.ts';

export type JsonObject = { [key: string]: unknown };

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Freezes a value at every depth and returns it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const key in value) deepFreeze(value[key]);
  }
  return value;
}

/** A copy as JSON would carry it: undefined keys are gone. */
export function jsonCopy<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

/** RFC 7386: maps are merged, null removes, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  const merged: JsonObject = isJsonObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue;
    if (value === null) delete merged[key];
    else if (value !== undefined) merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

/** The smallest merge patch that turns `from` into `to`; undefined if they are equal. */
export function mergePatchBetween(from: unknown, to: unknown): JsonObject | undefined {
  const before = isJsonObject(from) ? from : {};
  const after = isJsonObject(to) ? to : {};
  const patch: JsonObject = {};
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, next] = [before[key], after[key]];
    if (deepEqual(old, next)) continue;
    if (next === undefined) patch[key] = null;
    else patch[key] = isJsonObject(old) && isJsonObject(next) ? mergePatchBetween(old, next) : next;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}
