// Reads manifests as people write them: several YAML documents in a file, every fault with its line.
import { resourceOf } from './admission.ts';
import { formatPath, nearest, validate } from '#crds/faults.ts';
import type { Fault } from '#crds/faults.ts';
import { secretResource, storedSecret } from './secret-manifest.ts';
import { group } from '#crds/resource.ts';
import type { Custom, Resource } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { isNode, isScalar, LineCounter, parseAllDocuments } from 'yaml';
import type { Document } from 'yaml';

/** A manifest that was accepted: parsed, with defaults. */
export interface Manifest {
  resource: Resource;
  object: Custom<unknown, unknown>;
  file: string;
  /** Line where its document begins, from 1. */
  line: number;
}

export interface ManifestFault {
  file: string;
  /** From 1. */
  line: number;
  column: number;
  /** `spec.task.pretrain.steps`; empty if it is about the document. */
  path: string;
  message: string;
}

export interface Manifests {
  objects: Manifest[];
  faults: ManifestFault[];
}

/** Limits against YAML that unfolds to far more than was written (CWE-776). */
const maxTextLength = 4 * 1024 * 1024;
const maxAliases = 100;
const maxDocuments = 1000;

/** Reads all documents of `text`; `file` only names it in faults. Never throws for what is in the text. */
export function readManifests(text: string, file: string): Manifests {
  const found: Manifests = { objects: [], faults: [] };
  if (text.length > maxTextLength) {
    found.faults.push({
      file,
      line: 1,
      column: 1,
      path: '',
      message: `has ${text.length} characters; the limit is ${maxTextLength}`,
    });
    return found;
  }
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, version: '1.2', prettyErrors: false });
  const documents: Document.Parsed[] = Array.isArray(parsed) ? parsed : [];
  if (documents.length > maxDocuments) {
    found.faults.push({
      file,
      line: 1,
      column: 1,
      path: '',
      message: `has ${documents.length} documents; the limit is ${maxDocuments}`,
    });
    return found;
  }
  const seen = new Map<string, number>();
  for (const document of documents) {
    const place = (offset: number | undefined) => {
      const { line, col } = lines.linePos(offset ?? document.range?.[0] ?? 0);
      return { file, line: Math.max(1, line), column: Math.max(1, col) };
    };
    if (document.errors.length > 0) {
      for (const error of document.errors)
        found.faults.push({ ...place(error.pos[0]), path: '', message: `not YAML: ${error.message}` });
      continue;
    }
    if (isEmpty(document)) continue;
    const start = place(isNode(document.contents) ? document.contents.range?.[0] : undefined);
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: maxAliases });
    } catch (error) {
      found.faults.push({ ...start, path: '', message: `not YAML that can be read: ${(error as Error).message}` });
      continue;
    }
    const result = readObject(value);
    if ('faults' in result) {
      for (const fault of result.faults) {
        found.faults.push({ ...place(offsetOf(document, fault.path)), path: formatPath(fault.path), message: fault.message });
      }
      continue;
    }
    const { resource, object } = result;
    const name = `${resource.kind} ${object.metadata.namespace ?? ''}/${object.metadata.name}`;
    const first = seen.get(name);
    if (first !== undefined) {
      found.faults.push({
        ...start,
        path: 'metadata.name',
        message: `${resource.kind} ${object.metadata.name} is already on line ${first}; give it another name`,
      });
      continue;
    }
    seen.set(name, start.line);
    found.objects.push({ resource, object, file, line: start.line });
  }
  return found;
}

/** `quickstart.yaml:6:18: spec.model.family: must be one of gpt2, llama; got "lama"`. */
export function formatManifestFault(fault: ManifestFault): string {
  return `${fault.file}:${fault.line}:${fault.column}: ${fault.path === '' ? '' : `${fault.path}: `}${fault.message}`;
}

function readObject(value: unknown): Pick<Manifest, 'resource' | 'object'> | { faults: Fault[] } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { faults: [{ path: [], message: 'must be an object with apiVersion, kind, metadata and spec' }] };
  }
  const { apiVersion, kind } = value as Record<string, unknown>;
  const kinds = resources.map((resource) => resource.kind);
  if (typeof kind !== 'string') return { faults: [{ path: ['kind'], message: `is required: one of ${kinds.join(', ')}` }] };
  const resource = kind === secretResource.kind ? secretResource : resourceOf({ group, kind });
  if (!resource) {
    const near = nearest(kind, kinds);
    const message = `unknown kind ${JSON.stringify(kind)}${near ? `, did you mean ${near}?` : ''}; known kinds: ${kinds.join(', ')}`;
    return { faults: [{ path: ['kind'], message }] };
  }
  if (apiVersion !== resource.apiVersion) {
    const got = apiVersion === undefined ? 'it is missing' : `got ${JSON.stringify(apiVersion)}`;
    return { faults: [{ path: ['apiVersion'], message: `must be ${resource.apiVersion}; ${got}` }] };
  }
  const validated = validate(resource, value);
  if (!validated.ok) return { faults: validated.faults };
  return { resource, object: resource === secretResource ? storedSecret(validated.object) : validated.object };
}

function isEmpty(document: Document.Parsed): boolean {
  return document.contents === null || (isScalar(document.contents) && document.contents.value === null);
}

/** Where a path stands in the text: at the key of its last part, or at what encloses it if the field is missing. */
function offsetOf(document: Document.Parsed, path: readonly (string | number)[]): number | undefined {
  for (let length = path.length; length >= 0; length--) {
    const offset = keyOffset(document, path.slice(0, length));
    if (offset !== undefined) return offset;
  }
  return undefined;
}

function keyOffset(document: Document.Parsed, path: readonly (string | number)[]): number | undefined {
  const last = path.at(-1);
  if (last === undefined) return isNode(document.contents) ? document.contents.range?.[0] : undefined;
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (typeof parent !== 'object' || parent === null || !('items' in parent)) return undefined;
  if (typeof last === 'number') {
    const item = (parent.items as unknown[])[last];
    return isNode(item) ? item.range?.[0] : undefined;
  }
  for (const item of parent.items as { key?: unknown }[]) {
    if (isNode(item.key) && 'value' in item.key && item.key.value === last) return item.key.range?.[0];
  }
  return undefined;
}
