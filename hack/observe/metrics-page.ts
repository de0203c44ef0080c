// docs/metrics.md: how metrics are read, and each of them in a table.
import { exported } from './exported.ts';
import type { Exported } from './exported.ts';

const head = `# Metrics

The operator and every engine serve metrics in the text format of Prometheus. This page is generated from the code (\`npm run gen\`).

| program | address | what |
|---|---|---|
| operator | port 8080 (\`metrics.port\` of the chart), \`/metrics\` | its own work, and every TrainingJob, InferenceService and Model |
| engine, a pod of an InferenceService | the port of the service, \`/metrics\` | requests, tokens, caches |

## Setting it up

With the Prometheus operator and the sidecar of Grafana:

\`\`\`sh
helm upgrade windlass ./charts/windlass --reuse-values \\
  --set metrics.serviceMonitor.enabled=true --set metrics.podMonitor.enabled=true \\
  --set dashboards.enabled=true --set alerts.enabled=true
\`\`\`

Without them: import \`charts/windlass/files/dashboards/*.json\` in Grafana, give Prometheus \`charts/windlass/files/alerts.yaml\` as a rule file, and add
the jobs of \`charts/windlass/files/scrape.yaml\` to its configuration. Two things matter, and monitors and jobs take care of both:

- \`honor_labels: true\` for the operator: its series carry the \`namespace\` of the job or service that they are about.
- a label \`inferenceservice\` on what engines tell, from the pod's label \`windlass.dev/service\`.

## Dashboards

\`operator\`: whether it leads and keeps up, and what it waits for. \`training\`: where each job is, how fast and how well it goes, what a fault would cost.
\`serving\`: whether each service answers, how fast, how much, and what keeps it from doing better. Tests run every query of every panel on series that
were recorded from a real run.

## Alerts

Each has a page in [runbooks](runbooks/README.md) that says what it means and what to do. \`alerts.runbooks\` of the chart is where the links in the alerts
lead.

## The metrics

Several operators may run; the one that leads tells of objects, the others of themselves only. Figures of objects are computed from what the operator
knows at each reading: a job has some 35 series whatever its size, and none after it is deleted.
`;

const sections: readonly (readonly [title: string, intro: string, metrics: readonly Exported[]])[] = [
  ['TrainingJobs', 'By the operator.', exported.objects.trainingjob],
  ['InferenceServices and Models', 'By the operator.', [...exported.objects.inferenceservice, ...exported.objects.model]],
  ['Engines', 'Names and buckets of vLLM, so that its dashboards and autoscalers work. All carry `model_name`.', exported.engine],
  ['Operator', 'Names, labels and buckets of controller-runtime and client-go.', exported.operator],
  ['Processes', 'By operators and engines, as the Node library for Prometheus names them.', exported.process],
];

/** The text of the page. */
export function metricsPage(): string {
  return [head, ...sections.map(([title, intro, metrics]) => `### ${title}\n\n${intro}\n\n${table(metrics)}`)].join('\n');
}

function table(metrics: readonly Exported[]): string {
  const rows = metrics.map(({ name, type, unit, labels, help }) => {
    const words = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${unit} | ${words} | ${help.replaceAll('|', '\\|')} |`;
  });
  return `| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n${rows.join('\n')}\n`;
}
