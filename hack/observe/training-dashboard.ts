// The dashboard of training: where each job is, how fast and how well it goes, and what it lost.
import type { Dashboard, Panel } from './dashboard.ts';

const ofJob = 'namespace=~"$namespace",trainingjob=~"$trainingjob"';
/** The figure of each job, whichever operator told it. */
const figure = (name: string) => `max by (namespace, trainingjob) (windlass_trainingjob_${name}{${ofJob}})`;
const legend = '{{namespace}}/{{trainingjob}}';

const lines = (panel: Pick<Panel, 'title' | 'description' | 'unit' | 'max'> & { expr: string; width?: number }): Panel => {
  const { expr, width = 8, ...rest } = panel;
  return { ...rest, type: 'timeseries', width, queries: [{ expr, legend }] };
};

export const trainingDashboard: Dashboard = {
  name: 'training',
  title: 'Windlass / Training',
  description: 'Where each TrainingJob is, how fast and how well it goes, and what it lost.',
  variables: [
    { name: 'namespace', label: 'Namespace', of: 'windlass_trainingjob_info' },
    { name: 'trainingjob', label: 'Job', of: 'windlass_trainingjob_info{namespace=~"$namespace"}' },
  ],
  rows: [
    {
      title: 'At a glance',
      panels: [
        {
          title: 'States',
          description: 'The state of each job, and why it is or is not ready.',
          type: 'table',
          unit: 'short',
          width: 10,
          queries: [
            {
              expr: `max by (namespace, trainingjob, state) (windlass_trainingjob_state{${ofJob}} == 1) * on (namespace, trainingjob) group_left (reason) max by (namespace, trainingjob, reason) (windlass_trainingjob_reason{${ofJob}})`,
              legend,
            },
          ],
        },
        {
          title: 'Done',
          description: 'Share of the steps that are done.',
          type: 'bargauge',
          unit: 'percentunit',
          max: 1,
          width: 8,
          queries: [{ expr: `${figure('step')} / (${figure('steps')} > 0)`, legend }],
        },
        {
          title: 'Time left',
          description: 'To the last step, as it goes now.',
          type: 'stat',
          unit: 's',
          width: 6,
          height: 8,
          queries: [{ expr: figure('eta_seconds'), legend }],
        },
        lines({
          title: 'Loss',
          description: 'Of the newest step, in nats per token.',
          unit: 'short',
          width: 12,
          expr: figure('loss'),
        }),
        lines({
          title: 'Speed',
          description: 'Tokens trained a second.',
          unit: 'short',
          width: 12,
          expr: figure('tokens_per_second'),
        }),
        lines({
          title: 'Goodput',
          description: 'Time of steps that were done for the first time, over all time since the start.',
          unit: 'percentunit',
          width: 12,
          max: 1,
          expr: figure('goodput_ratio'),
        }),
        {
          title: 'Restarts',
          description: 'After faults, in the last hour, of pods and of ranks in place.',
          type: 'timeseries',
          unit: 'short',
          width: 12,
          queries: [
            { expr: `max by (namespace, trainingjob) (increase(windlass_trainingjob_restarts_total{${ofJob}}[1h]))`, legend },
          ],
        },
      ],
    },
    {
      title: 'Learning',
      panels: [
        lines({
          title: 'Held-out loss',
          description: 'On data that is not trained on, in nats per token.',
          unit: 'short',
          expr: figure('held_out_loss'),
        }),
        lines({
          title: 'Gradient norm',
          description: 'Over all parameters, before clipping. A spike comes before a loss that diverges.',
          unit: 'short',
          expr: figure('gradient_norm'),
        }),
        lines({ title: 'Learning rate', description: 'Of the newest step.', unit: 'short', expr: figure('learning_rate') }),
      ],
    },
    {
      title: 'Machines',
      panels: [
        {
          title: 'Ranks',
          description: 'Ranks whose pod is ready, and those that the job uses when it can have them.',
          type: 'timeseries',
          unit: 'short',
          width: 8,
          queries: [
            { expr: figure('ranks_ready'), legend: `${legend} ready` },
            { expr: figure('ranks'), legend: `${legend} wanted` },
          ],
        },
        lines({
          title: 'Share of the peak',
          description: 'Of what the machine was measured to do.',
          unit: 'percentunit',
          expr: figure('peak_ratio'),
        }),
        lines({
          title: 'Memory of a rank',
          description: 'Resident memory of the rank that has most.',
          unit: 'bytes',
          expr: figure('rank_memory_bytes'),
        }),
        lines({
          title: 'Stragglers',
          description: '1 while one rank is much slower than the others; status.straggler names it.',
          unit: 'short',
          expr: figure('straggler'),
        }),
        {
          title: 'Phases',
          description: 'What the ranks do between steps, and how far they are.',
          type: 'timeseries',
          unit: 'percentunit',
          max: 1,
          width: 8,
          queries: [
            {
              expr: `max by (namespace, trainingjob, phase) (windlass_trainingjob_phase_ratio{${ofJob}})`,
              legend: `${legend} {{phase}}`,
            },
          ],
        },
        lines({
          title: 'Age of the news',
          description: 'Time since progress was written to the status last. Grows where the bus is away.',
          unit: 's',
          expr: `time() - ${figure('progress_timestamp_seconds')} and ${figure('state').replace(ofJob, `${ofJob},state="Running"`)} == 1`,
        }),
      ],
    },
    {
      title: 'Time',
      panels: [
        {
          title: 'What time went to',
          description: 'Seconds since the start: productive, or lost by cause.',
          type: 'timeseries',
          unit: 's',
          stacked: true,
          width: 8,
          queries: [
            {
              expr: `sum by (cause) (max by (namespace, trainingjob, cause) (windlass_trainingjob_spent_seconds{${ofJob}}))`,
              legend: '{{cause}}',
            },
          ],
        },
        {
          title: 'Lost now',
          description: 'Jobs, on average, that lose time by each cause; those that are deleted since are in it.',
          type: 'timeseries',
          unit: 'short',
          stacked: true,
          width: 8,
          queries: [
            { expr: 'sum by (cause) (rate(windlass_trainingjob_lost_seconds_total[$__rate_interval]))', legend: '{{cause}}' },
          ],
        },
        {
          title: 'Faults',
          description:
            'Of all jobs in the last hour, by what was done about them, and whether it counted against faults.maxRestarts.',
          type: 'timeseries',
          unit: 'short',
          width: 8,
          queries: [
            {
              expr: 'sum by (action, charged) (increase(windlass_trainingjob_failures_total[1h]))',
              legend: '{{action}} charged: {{charged}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Safety',
      panels: [
        lines({
          title: 'Steps at risk',
          description: 'Steps since the newest checkpoint: what a fault would cost.',
          unit: 'short',
          width: 12,
          expr: `${figure('step')} - (${figure('checkpoint_step')} or ${figure('step')} * 0)`,
        }),
        lines({
          title: 'Age of the checkpoint',
          description: 'Time since the newest checkpoint was reported.',
          unit: 's',
          width: 12,
          expr: `time() - ${figure('checkpoint_timestamp_seconds')}`,
        }),
      ],
    },
  ],
};
