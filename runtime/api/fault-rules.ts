// Finds the rule of a job that decides on a fault. The agents ask it about ranks that end in living pods, the operator about pods. Pure.
import { constants } from 'node:os';
import { FaultRules } from '#crds/v1alpha1/fault-rules.ts';
import type { FaultReason, FaultRule } from '#crds/v1alpha1/fault-rules.ts';
import { z } from 'zod';

/** What is known of a fault. */
export interface FaultFacts {
  readonly exitCode?: number | undefined;
  /** Name of the signal, such as SIGKILL. */
  readonly signal?: string | undefined;
  readonly reason?: FaultReason | undefined;
  /** Error code that the rank told. */
  readonly code?: string | undefined;
  /** Its message and the last log lines. */
  readonly text?: string | undefined;
  readonly rank?: number | undefined;
}

/** Reasons of pods that do not come up: a rule is for them only if it names them. */
const comingUp = new Set<FaultReason>(['ImagePull', 'Unschedulable', 'NotReady']);

/** The first rule that fits, as they stand. */
export function firstRule(rules: readonly FaultRule[], facts: FaultFacts): FaultRule | undefined {
  return rules.find((rule) => fits(rule, facts));
}

function fits(rule: FaultRule, { exitCode, signal, reason, code, text = '', rank }: FaultFacts): boolean {
  if (reason !== undefined && comingUp.has(reason) && rule.reasons === undefined) return false;
  return (
    (rule.exitCodes === undefined || isAmong(rule.exitCodes, exitCode)) &&
    (rule.signals === undefined || rule.signals.some((name) => name === signal)) &&
    (rule.reasons === undefined || rule.reasons.some((name) => name === reason)) &&
    (rule.codes === undefined || rule.codes.some((name) => name === code)) &&
    (rule.ranks === undefined || isAmong(rule.ranks, rank)) &&
    (rule.log === undefined || saysLike(text, rule.log))
  );
}

/** Whether a number is one of 5, "7-9". */
function isAmong(numbers: readonly (number | string)[], value: number | undefined): boolean {
  if (value === undefined) return false;
  return numbers.some((entry) => {
    const [first, last = first] = typeof entry === 'number' ? [entry] : entry.split('-').map(Number);
    return value >= first! && value <= last!;
  });
}

/**
 * Whether a line of `text` contains the parts of `pattern` between its stars, in order. Each part is looked for once, behind the one before it:
 * there is nothing to go back to, so the time is that of plain searches whatever the pattern is.
 */
export function saysLike(text: string, pattern: string): boolean {
  const parts = pattern.split('*').filter((part) => part !== '');
  return text.split('\n').some((line) => {
    let from = 0;
    return parts.every((part) => {
      const found = line.indexOf(part, from);
      from = found + part.length;
      return found >= 0;
    });
  });
}

const JobWithRules = z.object({ faults: z.object({ rules: FaultRules.optional() }).optional() });

/** The rules in WL_JOB. Text without them has none. */
export function rulesOfJob(json: string): readonly FaultRule[] {
  try {
    return JobWithRules.parse(JSON.parse(json)).faults?.rules ?? [];
  } catch {
    return [];
  }
}

/** SIGKILL is 9. */
export function signalNumber(name: string | undefined): number | undefined {
  return name === undefined ? undefined : (constants.signals as Record<string, number | undefined>)[name];
}

/** 9 is SIGKILL. */
export function signalName(number: number | undefined): string | undefined {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
}
