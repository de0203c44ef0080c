// Schedules as CSV files.
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
import { WindlassError } from '#runtime/api/errors.ts';
import type { Action, ActionType, Schedule } from './action.ts';
import { isCompute } from './action.ts';
import { checkSchedule } from './check.ts';
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

/** More than this in a file is a mistake, not a schedule. */
const mostStages = 4096;
const mostGrains = 1_000_000;

export function formatScheduleCsv({ name, actions }: Schedule): string {
  const lines = actions.map((list) => list.map(formatCell).join(','));
  return `# name: ${name}\n${lines.join('\n')}\n`;
}

/**
 * Throws WL_MANIFEST_INVALID, with file, line and cell, for a cell that is none, and with the finding of `checkSchedule` for a
 * schedule that cannot run. `file` is for messages only.
 */
export function parseScheduleCsv(text: string, file: string): Schedule {
  let name = 'custom';
  const actions: Action[][] = [];
  const placement: (number | undefined)[] = [];
  let grains = 0;
  text.split(/\r?\n/).forEach((line, index) => {
    const comment = /^\s*#(?:\s*name:\s*(.*\S))?/.exec(line);
    if (comment) name = comment[1] ?? name;
    if (comment || line.trim() === '') return;
    const rank = actions.length;
    const row: Action[] = [];
    line.split(',').forEach((text, column) => {
      const cell = text.trim();
      if (cell === '') return;
      const place = { file, line: index + 1, cell: column + 1 };
      const action = parseCell(cell, place);
      const { stage, grain = 0 } = action;
      row.push(action);
      if (!isCompute(action)) return;
      grains = Math.max(grains, grain + 1);
      placement[stage] ??= rank;
      if (placement[stage] === rank) return;
      refuse(place, `stage ${stage} is computed on rank ${placement[stage]} already; this line is rank ${rank}`);
    });
    actions.push(row);
  });
  if (grains === 0) refuse({ file }, 'no rank computes anything');
  const complete = Array.from(placement, (rank, stage) => {
    return rank ?? refuse({ file }, `stage ${stage} is computed nowhere, but stage ${placement.length - 1} is`);
  });
  const schedule = { name, ranks: actions.length, stages: complete.length, grains, placement: complete, actions };
  try {
    checkSchedule(schedule);
  } catch (error) {
    if (!(error instanceof ScheduleError)) throw error;
    throw new WindlassError('WL_MANIFEST_INVALID', `${file}: ${error.message}`, { cause: error, details: { file } });
  }
  return schedule;
}

function formatCell({ type, stage, grain }: Action): string {
  return `${letters[type]}${stage}${grain === undefined ? '' : `.${grain}`}`;
}

function parseCell(cell: string, place: CellPlace): Action {
  const [, letter = '', stageDigits, grainDigits] = /^([A-Z]+)(\d+)(?:\.(\d+))?$/.exec(cell) ?? [];
  const type = types.get(letter);
  if (type === undefined) {
    const shown = JSON.stringify(cell.length > 40 ? `${cell.slice(0, 40)}...` : cell);
    refuse(place, `${shown} is no action; F0.3 is one: forward of stage 0, grain 3`);
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

/** Lines of the file and cells of a line count from 1. */
interface CellPlace {
  readonly file: string;
  readonly line?: number;
  readonly cell?: number;
}

function refuse(place: CellPlace, message: string): never {
  const { file, line, cell } = place;
  const where = line === undefined ? file : `${file}:${line}: cell ${cell}`;
  throw new WindlassError('WL_MANIFEST_INVALID', `${where}: ${message}`, { details: { ...place } });
}
