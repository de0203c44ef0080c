// `windlass plan`: what each rank of a manifest's jobs would hold and send, without running anything.
import { writeFile } from 'node:fs/promises';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { readManifestFiles } from '#operator/cli/manifest-files.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { planJob } from '#runtime/parallel/plan/plan.ts';
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { planSvg } from '#runtime/parallel/plan/svg.ts';
import { formatScheduleCsv, withCommunication } from '#runtime/parallel/schedule/main.ts';
import { planWarnings } from '#runtime/parallel/plan/warnings.ts';
import { planRequestOf } from '#runtime/train/plan-request.ts';
import { planJson } from './json.ts';
import { balanceText, readBalance } from './balance.ts';
import { readMeasured } from './measured.ts';
import { withScheduleFile } from './own-schedule.ts';
import { scheduleSvg, scheduleText } from './schedule.ts';
import { planText } from './text.ts';

export interface PlanOptions {
  readonly files: readonly string[];
  /** `csv`: the pipeline schedule of one job, an action in each cell; see runtime/parallel/schedule/csv.ts. */
  readonly output: 'text' | 'json' | 'csv';
  /** Whether to show when each rank of the pipeline computes what. */
  readonly schedule: boolean;
  /** File that gets a drawing: of the mesh, or with `schedule` of the timeline. */
  readonly svg: string | undefined;
  /** File with a schedule in the place of the one that the job asks for. */
  readonly scheduleCsv: string | undefined;
  /**
   * Folder with the traces of a job that ran: what its parts took and the cut that suits them, or with `schedule` its timeline beside the
   * simulated one.
   */
  readonly trace: string | undefined;
  readonly write: (text: string) => void;
}

/** Throws WL_MANIFEST_INVALID, with the file and line of the job, if a layout is not legal. */
export async function plan(options: PlanOptions): Promise<void> {
  const { files, output, schedule, svg, trace, scheduleCsv, write } = options;
  const jobs = (await readManifestFiles(files)).filter(({ resource }) => resource.kind === TrainingJob.kind);
  if (jobs.length === 0) throw new WindlassError('WL_MANIFEST_INVALID', `${files.join(', ')}: no TrainingJob in it`);
  for (const [option, does] of ofOneJob(options)) {
    if (jobs.length > 1) throw new WindlassError('WL_USAGE', `${option} ${does} one job; ${files.join(', ')} has ${jobs.length}`);
  }
  const plans: { name: string; plan: JobPlan; warnings: string[] }[] = [];
  for (const { object, file, line } of jobs) {
    const { name } = object.metadata;
    const written = object.spec as TrainingJobSpec;
    const spec = scheduleCsv === undefined ? written : await withScheduleFile(written, scheduleCsv);
    try {
      const request = await planRequestOf(spec);
      const planned = planJob(request);
      plans.push({ name, plan: planned, warnings: planWarnings(planned, request, memoryLimit(spec)) });
    } catch (error) {
      throw inManifest(error, `${file}:${line}`);
    }
  }
  const [first] = plans;
  const traced = trace === undefined || !first ? undefined : { folder: trace, plan: first.plan };
  const measured = traced && schedule ? await readMeasured(traced.folder, traced.plan) : undefined;
  const balance = traced && !schedule ? await readBalance(traced.folder, traced.plan) : undefined;
  if (output === 'json') write(planJson(plans, balance));
  else if (output === 'csv' && first) write(formatScheduleCsv(withCommunication(first.plan.schedule)));
  else {
    const texts = plans.map(
      ({ name, plan, warnings }) => planText(name, plan, warnings) + (schedule ? `\n${scheduleText(plan, measured)}` : ''),
    );
    write(texts.join('\n') + (balance ? `\n${balanceText(balance)}` : ''));
  }
  if (svg === undefined || !first) return;
  await writeFile(svg, schedule ? scheduleSvg(first.name, first.plan, measured) : planSvg(first.name, first.plan));
}

/** The options that need the manifests to have one job only, and what they do with it. */
function ofOneJob({ svg, trace, scheduleCsv, output }: PlanOptions): [option: string, does: string][] {
  return [
    ...(svg === undefined ? [] : [['--svg', 'draws'] as [string, string]]),
    ...(trace === undefined ? [] : [['--trace', 'is of'] as [string, string]]),
    ...(scheduleCsv === undefined ? [] : [['--schedule-csv', 'is for'] as [string, string]]),
    ...(output === 'csv' ? [['-o csv', 'prints the schedule of'] as [string, string]] : []),
  ];
}

function inManifest(error: unknown, place: string): unknown {
  if (!(error instanceof WindlassError) || error.code !== 'WL_MANIFEST_INVALID') return error;
  const message = error.message.replaceAll(/^/gm, `${place}: `);
  return new WindlassError(error.code, message, { cause: error, details: error.details });
}

const factors: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

function memoryLimit({ podTemplate }: TrainingJobSpec): number | undefined {
  const limit = podTemplate?.resources?.limits?.memory;
  if (limit === undefined) return undefined;
  const [, number = '', unit = ''] = /^([0-9.]+)([A-Za-z]*)$/.exec(String(limit)) ?? [];
  return Number(number) * (factors[unit] ?? 1);
}
