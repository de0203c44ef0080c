// The door of pipeline schedules: built, checked, with communication and sharding, simulated and drawn.
export { isCompute } from '#runtime/api/schedule/action.ts';
export type { Action, GeneratedSchedule, Schedule, ScheduleName } from '#runtime/api/schedule/action.ts';
export { buildSchedule, scheduleKinds } from './build.ts';
export type { ScheduleWishes } from './build.ts';
export { checkSchedule } from '#runtime/api/schedule/check.ts';
export { withCommunication } from './communication.ts';
export { formatScheduleCsv } from '#runtime/api/schedule/csv.ts';
export { cutStages } from './cut-stages.ts';
export { joinedReductions } from './reductions.ts';
export { withSharding } from './sharding.ts';
export { timelineFigures } from './timing/figures.ts';
export type { Span } from './timing/figures.ts';
export { bubbleShare } from './timing/formulas.ts';
export { simulate } from './timing/simulate.ts';
export type { StageCost } from './timing/simulate.ts';
export { timelinesSvg, timelineSvg } from './drawing/svg.ts';
export { timelineText } from './drawing/text.ts';
