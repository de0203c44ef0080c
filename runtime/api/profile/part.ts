// What one process tells of a profile: what its streams did when, and the steps and requests whose time is to be accounted for.
import { z } from 'zod';

/** idle: the stream had nothing to do, until what the name says. waiting: for another stream or another rank. */
const SpanKind = z.enum(['operation', 'communication', 'waiting', 'idle']);
export type SpanKind = z.output<typeof SpanKind>;

/** Microseconds of the wall clock. */
const times = { beginUs: z.number(), endUs: z.number() };

const ProfileSpan = z.object({ row: z.int().min(0), name: z.string(), kind: SpanKind, ...times });
export type ProfileSpan = z.output<typeof ProfileSpan>;

/** A step or a request, whose time the spans of row `row` account for. */
const ProfileWindow = z.object({
  name: z.string(),
  row: z.int().min(0),
  ...times,
  args: z.record(z.string(), z.union([z.string(), z.number()])),
});
export type ProfileWindow = z.output<typeof ProfileWindow>;

export const ProfilePart = z.object({
  /** Name of the process, and its place among the others. */
  process: z.string(),
  order: z.int().min(0),
  /** Names of the rows, one for each stream; those of a row follow each other. */
  rows: z.array(z.string()),
  spans: z.array(ProfileSpan),
  windows: z.array(ProfileWindow),
  /** Spans that found no room. */
  left: z.int().min(0),
});
export type ProfilePart = z.output<typeof ProfilePart>;

/** Name of a process's file in the folder of a profile. */
export const partSuffix = '.profile.json';
