// The ranks of a job in the view: a line for each, as long as they are few. Pure.
import { formatBytes, table } from './format.ts';

export interface RankView {
  readonly rank: number;
  readonly pod: string;
  /** `running`, or what keeps it from that: `starting`, `silent`, `lost`, `ended`. */
  readonly state: string;
  readonly phase?: string | undefined;
  readonly step?: number | undefined;
  readonly stepMs?: number | undefined;
  readonly rssBytes?: number | undefined;
  /** The collective that it waits in. */
  readonly waitsIn?: string | undefined;
}

/** Ranks that have a line of their own. */
const unfolded = 8;
/** Ranks of the folded part that are named because something is wrong with them. */
const named = 3;

const header = ['rank', 'pod', 'doing', 'step', 'time', 'memory', 'waits in'];

/** A table of the ranks of a job, and a line for what is folded; nothing for one that is alone. `time` is that of a step. */
export function rankLines(ranks: readonly RankView[]): string[] {
  if (ranks.length < 2) return [];
  const shown = ranks.length > unfolded + 1 ? ranks.slice(0, unfolded) : ranks;
  const lines = table([header, ...shown.map(cellsOf)])
    .trimEnd()
    .split('\n');
  return [...lines, ...(shown.length < ranks.length ? [foldedLine(ranks.slice(shown.length))] : [])];
}

function cellsOf({ rank, pod, state, phase, step, stepMs, rssBytes, waitsIn }: RankView): string[] {
  return [
    String(rank),
    pod,
    state === 'running' ? (phase ?? state) : state,
    step === undefined ? '' : String(step),
    stepMs === undefined ? '' : formatMs(stepMs),
    rssBytes === undefined ? '' : formatBytes(rssBytes),
    waitsIn ?? '',
  ];
}

/** `ranks 8-63: step 119 to 120; rank 12 is silent`. */
function foldedLine(ranks: readonly RankView[]): string {
  const steps = ranks.flatMap(({ step }) => (step === undefined ? [] : [step]));
  const [low, high] = [Math.min(...steps), Math.max(...steps)];
  const at = steps.length === 0 ? 'no step yet' : low === high ? `step ${low}` : `step ${low} to ${high}`;
  const troubled = ranks.filter(({ state }) => state !== 'running');
  const others = troubled.length > named ? [`${troubled.length - named} more are not running`] : [];
  const trouble = [...troubled.slice(0, named).map(({ rank, state }) => `rank ${rank} is ${state}`), ...others];
  return [`ranks ${ranks[0]?.rank}-${ranks.at(-1)?.rank}: ${at}`, ...trouble].join('; ');
}

/** 85 ms, 1.2 s. */
function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
