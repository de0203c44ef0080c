// Where `windlass run` shows how it goes: a live view on a terminal, lines of change elsewhere. What is said for good stands below the view.
import type { WriteStream } from 'node:tty';
import { wrap } from './format.ts';
import { startLiveScreen } from './live-screen.ts';
import type { LiveScreen } from './live-screen.ts';
import { linesOfChange } from './plain-lines.ts';
import { renderView } from './view.ts';
import type { View } from './view.ts';

export interface Screen {
  show(view: View): void;
  /** Something that went wrong outside of any object's status. */
  note(text: string): void;
  /** Leaves the view as it is now, and prints below it. From then on changes are told in lines. */
  say(text: string): void;
  close(): void;
}

/** Opens the screen of a run; `title` heads the live view. */
export function openScreen(terminal: WriteStream, title: string): Screen {
  const started = performance.now();
  const notes: string[] = [];
  let shown: View = { title, elapsedSeconds: 0, jobs: [], services: [] };
  let live: LiveScreen | undefined;
  const render = (width: number) => [
    ...renderView({ ...shown, title, elapsedSeconds: (performance.now() - started) / 1000 }, width),
    ...notes.flatMap((note) => ['', ...wrap(note, width)]),
  ];
  const freeze = () => {
    live?.stop();
    live = undefined;
  };
  if (terminal.isTTY) live = startLiveScreen(terminal, render);
  let isFirst = true;
  return {
    show(view) {
      const lines = live ? [] : linesOfChange(isFirst ? undefined : shown, view);
      [shown, isFirst] = [view, false];
      for (const line of lines) terminal.write(`${line}\n`);
    },
    note(text) {
      notes.push(text);
      if (!live) terminal.write(`${text}\n`);
    },
    say(text) {
      freeze();
      terminal.write(text);
    },
    close: freeze,
  };
}
