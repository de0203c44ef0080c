// One object on a page: how it goes, its conditions, what went wrong last and what to do, its pods and events. Pure.
import type { Condition } from '#crds/conditions.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import type { Event, Pod } from '#operator/kube/core.ts';
import { isErrorCode, errorTable } from '#runtime/api/errors.ts';
import { fit, wrap } from '../format.ts';
import { jobView, serviceView } from '../object-view.ts';
import { renderJob, renderService } from '../view.ts';
import { valueAt } from '../objects.ts';
import { ageOf, podTable } from './pod-state.ts';

/** An object with what belongs to it. */
export interface Seen {
  readonly object: KubeObject;
  readonly pods: readonly Pod[];
  readonly events: readonly Event[];
  /** Loss of each reported step, oldest first, as far as known. */
  readonly losses: readonly number[];
}

/** Newest events that a page shows. */
const shownEvents = 10;

/** Lines of at most `width` columns. `now` in ms. */
export function objectPage({ object, pods, events, losses }: Seen, width: number, now: number): string[] {
  const lines = headOf(object, losses, width);
  const sections: [title: string, lines: string[]][] = [
    ['Conditions', conditionLines(conditionsOf(object), width, now)],
    ['Last failure', failureLines(failureOf(object), width, now)],
    ['Pods', hasPods(object) ? podTable(pods, now).map((line) => `  ${line}`) : []],
    ['Events', eventLines(events, width, now)],
  ];
  for (const [title, own] of sections) if (own.length > 0) lines.push('', title, ...own);
  return lines.map((line) => fit(line, width));
}

function headOf(object: KubeObject, losses: readonly number[], width: number): string[] {
  if (object.kind === TrainingJob.kind) {
    const { fault: _, message: __, logTail: ___, ...view } = jobView(object as TrainingJob);
    return renderJob({ ...view, losses }, width);
  }
  if (object.kind === InferenceService.kind) {
    const { message: _, ...view } = serviceView(object as InferenceService);
    const model = valueAt(object, '.status.model.active') ?? valueAt(object, '.status.model.target');
    return [...renderService(view, width), ...(typeof model === 'string' ? [`  model ${model}`] : [])];
  }
  const facts = Object.entries(valueAt(object, '.spec') ?? {}).filter(([, value]) => typeof value !== 'object');
  return [`${object.metadata.name}  ${object.kind}`, ...facts.map(([name, value]) => `  ${name}: ${String(value)}`)];
}

function conditionsOf(object: KubeObject): readonly Condition[] {
  return (valueAt(object, '.status.conditions') ?? []) as readonly Condition[];
}

function failureOf(object: KubeObject): PodFailure | undefined {
  const found =
    object.kind === TrainingJob.kind ? valueAt(object, '.status.lastFailure') : valueAt(object, '.status.model.lastFailure');
  return found as PodFailure | undefined;
}

function hasPods({ kind }: KubeObject): boolean {
  return kind === TrainingJob.kind || kind === InferenceService.kind;
}

function conditionLines(conditions: readonly Condition[], width: number, now: number): string[] {
  const widest = Math.max(11, ...conditions.map(({ type }) => type.length));
  return conditions.flatMap(({ type, status, reason, message, lastTransitionTime }) => [
    `  ${type.padEnd(widest)} ${status.padEnd(7)} ${reason}, since ${ageOf(lastTransitionTime, now)}`,
    ...(message && message !== reason ? wrap(message, width - 4).map((line) => `    ${line}`) : []),
  ]);
}

function failureLines(failure: PodFailure | undefined, width: number, now: number): string[] {
  if (!failure) return [];
  const { time, rank, pod, node, exitCode, signal, code, message, remedy, rule, action, step } = failure;
  const facts = [
    `${ageOf(time, now)} ago`,
    rank === undefined ? undefined : `rank ${rank}`,
    pod === undefined ? undefined : `pod ${pod}`,
    node === undefined ? undefined : `node ${node}`,
    signal === undefined ? (exitCode === undefined ? undefined : `exit code ${exitCode}`) : `signal ${signal}`,
    code,
    step === undefined ? undefined : `step ${step}`,
  ];
  const known = remedy ?? (code !== undefined && isErrorCode(code) ? errorTable[code].remedy : undefined);
  const done = [rule === undefined ? undefined : `rule ${rule}`, action === undefined ? undefined : `action ${action}`];
  const texts = [
    present(facts).join(', '),
    message,
    known === undefined ? undefined : `What to do: ${known}`,
    present(done).join(', ') || undefined,
  ];
  return present(texts).flatMap((text) => wrap(text, width - 2).map((line) => `  ${line}`));
}

function present(texts: readonly (string | undefined)[]): string[] {
  return texts.filter((text) => text !== undefined);
}

/** The newest ones, oldest first. */
function eventLines(events: readonly Event[], width: number, now: number): string[] {
  const timeOf = ({ series, eventTime, metadata }: Event) =>
    series?.lastObservedTime ?? eventTime ?? metadata.creationTimestamp ?? '';
  return events
    .toSorted((a, b) => timeOf(a).localeCompare(timeOf(b)))
    .slice(-shownEvents)
    .flatMap((event) => {
      const count = event.series && event.series.count > 1 ? ` (${event.series.count} times)` : '';
      const lead = `  ${ageOf(timeOf(event), now).padEnd(7)} ${event.type === 'Warning' ? '!' : ' '} `;
      const lines = wrap(`${event.reason}${count}: ${event.note ?? ''}`, width - lead.length);
      return lines.map((line, index) => `${index === 0 ? lead : ' '.repeat(lead.length)}${line}`);
    });
}
