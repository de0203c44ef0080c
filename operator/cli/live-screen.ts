// Draws a view over and over in the same place of a terminal, and leaves the last one standing.
import type { WriteStream } from 'node:tty';

const redrawMs = 200;
const hideCursor = '\u001B[?25l';
const showCursor = '\u001B[?25h';
const clearBelow = '\u001B[J';

export interface LiveScreen {
  /** Draws a last time and gives the terminal back. */
  stop(): void;
}

/** Starts drawing `render(width)` on `terminal`; taller views than the terminal lose their upper lines. */
export function startLiveScreen(terminal: WriteStream, render: (width: number) => string[]): LiveScreen {
  let drawn = 0;
  const draw = () => {
    const lines = render(terminal.columns).slice(-Math.max(1, terminal.rows - 1));
    const up = drawn > 0 ? `\u001B[${drawn}A` : '';
    terminal.write(`${up}\r${clearBelow}${lines.map((line) => `${line}\n`).join('')}`);
    drawn = lines.length;
  };
  const timer = setInterval(draw, redrawMs);
  const restore = () => terminal.write(showCursor);
  terminal.write(hideCursor);
  process.once('exit', restore);
  draw();
  return {
    stop() {
      clearInterval(timer);
      draw();
      restore();
      process.off('exit', restore);
    },
  };
}
