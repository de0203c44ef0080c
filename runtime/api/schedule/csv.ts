// Schedules as CSV.
//
// One line per rank, from rank 0; one cell per action, in order. Lines that begin with # are comments; `# name: NAME` names the
// schedule. Empty cells are skipped, so that the columns of a spreadsheet may be time steps. A cell is an action, the stage, a
// dot, the grain:
//   F0.3   forward of stage 0, grain 3          B0.3   backward in one
//   I0.3   backward, input gradient             W0.3   backward, weight gradient
//   SF0.3  send the output of stage 0           RF1.3  receive it for stage 1
//   SB1.3  send the input gradient of stage 1   RB0.3  receive it for stage 0
//   UNSHARD0, RESHARD0   gather and free the weights of stage 0
//   REDUCE0, REDUCE0.3   reduce the gradients of stage 0: of all grains at once, or of grain 3 by itself
// Stages and grains count from 0. How many there are, and which rank holds which stage, follows from the cells.
import type { Action, ActionType, Schedule } from './action.ts';
import { isCompute } from './action.ts';
import { checkSchedule } from './check.ts';
import type { Naming } from './walk.ts';
import { ScheduleError } from './walk.ts';

const letters: Readonly<Record<ActionType, string>> = {
  forward: 'F',
  backward: 'B',
  backwardInput: 'I',
  backwardWeight: 'W',
  sendForward: 'SF',
  receiveForward: 'RF',
  sendBackward: 'SB',
  receiveBackward: 'RB',
  unshard: 'UNSHARD',
  reshard: 'RESHARD',
  reduce: 'REDUCE',
};
const types = new Map(Object.entries(letters).map(([type, letter]) => [letter, type as ActionType]));

/** As `spec.parallelism.scheduleCsv` allows; with 60,000 characters there are fewer than 20,000 cells. */
const mostCharacters = 60_000;
/** As `spec.parallelism.pipeline` allows. */
const mostRanks = 1024;
const mostStages = 4096;
const mostGrains = 65_536;
const longestName = 63;

export function formatScheduleCsv({ name, actions }: Schedule): string {
  const lines = actions.map((list) => list.map(formatAction).join(','));
  return `# name: ${name}\n${lines.join('\n')}\n`;
}

/** Throws ScheduleError with line, column and what would be right, for a cell that is none and for a schedule that cannot run. */
export function parseScheduleCsv(text: string): Schedule {
  const { name, rows } = readRows(text);
  const placement = placementOf(rows);
  const grains = rows.flatMap(({ cells }) => cells).reduce((most, { action: { grain = 0 } }) => Math.max(most, grain + 1), 1);
  const actions = rows.map(({ cells }) => cells.map(({ action }) => action));
  const schedule = { name, ranks: rows.length, stages: placement.length, grains, placement, actions };
  checkSchedule(schedule, namingOf(rows));
  return schedule;
}

/** Lines of the text and columns of a line count from 1. */
interface Position {
  readonly line: number;
  readonly column: number;
}

interface Cell extends Position {
  readonly action: Action;
}

/** What one rank does. */
interface Row {
  readonly cells: readonly Cell[];
  readonly end: Position;
}

function readRows(text: string): { readonly name: string; readonly rows: readonly Row[] } {
  if (text.length > mostCharacters)
    throw new ScheduleError(`line 1, column 1: the text has ${text.length} characters; at most ${mostCharacters} are taken`);
  let name = 'csv';
  const rows: Row[] = [];
  for (const [index, content] of text.split(/\r?\n/).entries()) {
    const line = index + 1;
    const foreign = /[^\t\r -~]/.exec(content);
    if (foreign) refuse({ line, column: foreign.index + 1 }, `${JSON.stringify(foreign[0])}; only plain ASCII is taken`);
    const comment = /^#(?:\s*name:\s*(.+))?/.exec(content.trim());
    if (comment) {
      name = comment[1] ?? name;
      if (name.length > longestName)
        refuse({ line, column: 1 }, `the name has ${name.length} characters; at most ${longestName} are taken`);
      continue;
    }
    const cells = readCells(content, line);
    if (cells.length > 0 && rows.length === mostRanks)
      refuse({ line, column: 1 }, `this line is rank ${mostRanks}; a pipeline has at most ${mostRanks} ranks`);
    if (cells.length > 0) rows.push({ cells, end: { line, column: content.trimEnd().length + 1 } });
  }
  return { name, rows };
}

function readCells(content: string, line: number): Cell[] {
  const cells: Cell[] = [];
  let column = 1;
  for (const part of content.split(',')) {
    const place = { line, column: column + part.length - part.trimStart().length };
    if (part.trim() !== '') cells.push({ ...place, action: readAction(part.trim(), place) });
    column += part.length + 1;
  }
  return cells;
}

function readAction(cell: string, place: Position): Action {
  const [, letter = '', stageDigits, grainDigits] = /^([A-Z]+)(\d+)(?:\.(\d+))?$/.exec(cell) ?? [];
  const type = types.get(letter);
  if (type === undefined) {
    const shown = JSON.stringify(cell.length > 40 ? `${cell.slice(0, 40)}...` : cell);
    refuse(place, `${shown} is no action; ${adviceFor(cell)}`);
  }
  const stage = Number(stageDigits);
  if (stage >= mostStages) refuse(place, `${cell}: a schedule has at most ${mostStages} stages`);
  const wantsGrain = type !== 'unshard' && type !== 'reshard';
  if (grainDigits === undefined) {
    if (wantsGrain && type !== 'reduce') refuse(place, `${cell} names no grain; ${cell}.0 would be grain 0`);
    return { type, stage };
  }
  if (!wantsGrain) refuse(place, `${cell} names a grain, but weights are gathered and freed for all; ${letter}${stage} is right`);
  const grain = Number(grainDigits);
  if (grain >= mostGrains) refuse(place, `${cell}: a schedule has at most ${mostGrains} grains`);
  return { type, stage, grain };
}

function adviceFor(cell: string): string {
  if (/[;\t ]/.test(cell)) return 'cells are separated by commas';
  const upper = cell.toUpperCase();
  const [, letter = ''] = /^([A-Z]+)\d+(?:\.\d+)?$/.exec(upper) ?? [];
  return types.has(letter) && upper !== cell ? `${upper} is one` : 'F0.3 is one: forward of stage 0, grain 3';
}

/** Rank of each stage: the one that computes it. */
function placementOf(rows: readonly Row[]): number[] {
  const holders: (number | undefined)[] = [];
  let last: Cell | undefined;
  for (const [rank, { cells }] of rows.entries()) {
    for (const cell of cells.filter(({ action }) => isCompute(action))) {
      const { stage } = cell.action;
      const holder = (holders[stage] ??= rank);
      if (holder !== rank) {
        const there = `stage ${stage} is computed on line ${rows[holder]!.end.line} already`;
        refuse(cell, `${formatAction(cell.action)}: ${there}; each stage belongs to one line`);
      }
      if (!last || stage > last.action.stage) last = cell;
    }
  }
  const highest = last ?? refuse({ line: 1, column: 1 }, 'no rank computes anything; F0.0,B0.0 would be a step of one rank');
  return Array.from(holders, (rank, stage) => {
    const missing = `stage ${stage} is computed nowhere; stages go from 0 on without a gap`;
    return rank ?? refuse(highest, `${formatAction(highest.action)}: ${missing}`);
  });
}

function namingOf(rows: readonly Row[]): Naming {
  return {
    place: ({ rank, position, action }) => `${formatPosition(rows[rank]!.cells[position]!)} (${formatAction(action)})`,
    action: formatAction,
    rank: (rank) => `line ${rows[rank]!.end.line}`,
    end: (rank) => `${formatPosition(rows[rank]!.end)} (its end)`,
  };
}

function formatAction({ type, stage, grain }: Action): string {
  return `${letters[type]}${stage}${grain === undefined ? '' : `.${grain}`}`;
}

function formatPosition({ line, column }: Position): string {
  return `line ${line}, column ${column}`;
}

function refuse(place: Position, message: string): never {
  throw new ScheduleError(`${formatPosition(place)}: ${message}`);
}
