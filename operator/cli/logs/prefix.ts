// What stands before each line of several logs: the name of the pod, in a colour of its own where colours are wanted. Pure.

/** Colours of a terminal that are readable on black and on white. */
const colours = [36, 33, 32, 35, 34, 31];

export interface PrefixOptions {
  /** Without it, lines stay as they are. */
  readonly named: boolean;
  readonly coloured: boolean;
}

/** A function from pod and text to a line. Pods get colours in the order in which they come. */
export function createPrefix({ named, coloured }: PrefixOptions): (pod: string, text: string) => string {
  const order = new Map<string, number>();
  return (pod, text) => {
    if (!named || text === '') return `${text}\n`;
    if (!coloured) return `${pod}: ${text}\n`;
    if (!order.has(pod)) order.set(pod, order.size);
    return `\u001B[${colours[order.get(pod)! % colours.length]}m${pod}:\u001B[0m ${text}\n`;
  };
}

/** Whether colours are wanted: a terminal that was not asked to do without (https://no-color.org). */
export function wantsColour(terminal: { isTTY?: boolean }, env: Readonly<Record<string, string | undefined>>): boolean {
  return terminal.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
}
