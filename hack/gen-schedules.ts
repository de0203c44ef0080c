// Draws the pipeline schedules of docs/parallelism.md as docs/schedules/*.svg.
import type { ScheduleWishes } from '#runtime/parallel/schedule/main.ts';
import {
  buildSchedule,
  checkSchedule,
  simulate,
  timelineSvg,
  withCommunication,
  withSharding,
} from '#runtime/parallel/schedule/main.ts';

/**
 * All of one model on one scale: a rank's share of the layers takes 1 for a forward, an input gradient and a weight gradient
 * each; a stage that is half the share takes half of that.
 */
const drawings: readonly { readonly wishes: ScheduleWishes; readonly name: string }[] = [
  { wishes: { schedule: 'gpipe', pipeline: 4, stagesPerRank: 1, grains: 8 }, name: 'GPipe' },
  { wishes: { schedule: '1f1b', pipeline: 4, stagesPerRank: 1, grains: 8 }, name: '1F1B' },
  { wishes: { schedule: 'interleaved', pipeline: 4, stagesPerRank: 2, grains: 8 }, name: 'Interleaved 1F1B' },
  { wishes: { schedule: 'zb1p', pipeline: 4, stagesPerRank: 1, grains: 8 }, name: 'ZB1P' },
  { wishes: { schedule: 'zbv', pipeline: 4, stagesPerRank: 2, grains: 8 }, name: 'ZBV' },
  { wishes: { schedule: 'dualpipev', pipeline: 4, stagesPerRank: 2, grains: 8 }, name: 'DualPipeV' },
];

export function generateSchedules(): { path: string; text: string }[] {
  const plain = drawings.map(({ wishes, name }) => {
    const schedule = buildSchedule(wishes);
    checkSchedule(withCommunication(schedule));
    const pass = 1 / wishes.stagesPerRank;
    const { spans, length } = simulate(schedule, { forward: pass, backwardInput: pass, backwardWeight: pass });
    const title = `${name}: ${wishes.pipeline} ranks, ${wishes.grains} grains`;
    return { path: `docs/schedules/${wishes.schedule}.svg`, text: timelineSvg(spans, { title, width: 120 + 25 * length }) };
  });
  return [...plain, { path: 'docs/schedules/sharded.svg', text: shardedDrawing() }];
}

/** What runs beside the computation: sends, gathering of weights, reduction of gradients. */
function shardedDrawing(): string {
  const schedule = buildSchedule({ schedule: 'interleaved', pipeline: 2, stagesPerRank: 2, grains: 4 });
  const whole = withSharding(withCommunication(schedule), { reshardAfterForward: true });
  checkSchedule(whole);
  const { spans } = simulate(whole, { forward: 1, backwardInput: 1, backwardWeight: 1, send: 0.25, unshard: 0.5, reduce: 0.75 });
  return timelineSvg(spans, { title: 'Interleaved 1F1B with sends and sharded weights: 2 ranks, 4 grains' });
}
