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
import { readMeasured } from './measured.ts';
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
  /** Folder with the traces of a job that ran, whose timeline is shown beside the simulated one. */
  readonly trace: string | undefined;
  readonly write: (text: string) => void;
}

/** Throws WL_MANIFEST_INVALID, with the file and line of the job, if a layout is not legal. */
export async function plan({ files, output, schedule, svg, trace, write }: PlanOptions): Promise<void> {
  const jobs = (await readManifestFiles(files)).filter(({ resource }) => resource.kind === TrainingJob.kind);
  if (jobs.length === 0) throw new WindlassError('WL_MANIFEST_INVALID', `${files.join(', ')}: no TrainingJob in it`);
  if (svg !== undefined && jobs.length > 1)
    throw new WindlassError('WL_USAGE', `--svg draws one job; ${files.join(', ')} has ${jobs.length}`);
  if (trace !== undefined && (jobs.length > 1 || !schedule))
    throw new WindlassError('WL_USAGE', `--trace goes with --schedule and one job; ${files.join(', ')} has ${jobs.length}`);
  if (output === 'csv' && jobs.length > 1)
    throw new WindlassError('WL_USAGE', `-o csv prints the schedule of one job; ${files.join(', ')} has ${jobs.length}`);
  const plans: { name: string; plan: JobPlan; warnings: string[] }[] = [];
  for (const { object, file, line } of jobs) {
    const { name } = object.metadata;
    try {
      const spec = object.spec as TrainingJobSpec;
      const request = await planRequestOf(spec);
      const planned = planJob(request);
      plans.push({ name, plan: planned, warnings: planWarnings(planned, request, memoryLimit(spec)) });
    } catch (error) {
      throw inManifest(error, `${file}:${line}`);
    }
  }
  const [first] = plans;
  const measured = trace === undefined || !first ? undefined : await readMeasured(trace, first.plan);
  if (output === 'json') write(planJson(plans));
  else if (output === 'csv' && first) write(formatScheduleCsv(withCommunication(first.plan.schedule)));
  else {
    const texts = plans.map(
      ({ name, plan, warnings }) => planText(name, plan, warnings) + (schedule ? `\n${scheduleText(plan, measured)}` : ''),
    );
    write(texts.join('\n'));
  }
  if (svg === undefined || !first) return;
  await writeFile(svg, schedule ? scheduleSvg(first.name, first.plan, measured) : planSvg(first.name, first.plan));
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
