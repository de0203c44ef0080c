// Events as lines of text, the oldest first. Pure.
import type { Event } from '#operator/kube/core.ts';

export function eventText(events: readonly Event[]): string {
  const timeOf = ({ series, eventTime, metadata }: Event) =>
    series?.lastObservedTime ?? eventTime ?? metadata.creationTimestamp ?? '';
  return events
    .toSorted((a, b) => timeOf(a).localeCompare(timeOf(b)))
    .map((event) => {
      const { type, reason, note, regarding, series } = event;
      const count = series ? ` (${series.count} times)` : '';
      return `${timeOf(event)} ${type} ${regarding.kind.toLowerCase()}/${regarding.name} ${reason}${count}: ${note.replaceAll('\n', ' ')}\n`;
    })
    .join('');
}
