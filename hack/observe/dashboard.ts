// A dashboard in few words, and the JSON that Grafana takes.

/** The words of Grafana for units. */
type Unit = 'short' | 's' | 'bytes' | 'percentunit' | 'reqps' | 'ops' | 'dateTimeFromNow';

interface Query {
  /** PromQL with `$` variables of the dashboard and `$__rate_interval`. */
  readonly expr: string;
  /** Names of labels in double braces. */
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  readonly description: string;
  readonly type: 'timeseries' | 'stat' | 'bargauge' | 'table';
  readonly unit: Unit;
  readonly queries: readonly Query[];
  /** Of 24 columns. */
  readonly width: number;
  readonly height?: number;
  /** From which value on it is coloured; below the first, green. */
  readonly thresholds?: readonly (readonly [from: number, color: 'green' | 'orange' | 'red'])[];
  readonly max?: number;
  readonly decimals?: number;
  readonly stacked?: boolean;
  /** Words for values. */
  readonly words?: Readonly<Record<string, string>>;
}

interface Variable {
  readonly name: string;
  readonly label: string;
  /** A series that has the label, by which the values are found. */
  readonly of: string;
}

export interface Dashboard {
  /** Also the file's name. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[];
}

/** Grafana 12's; older releases from 10 on read it too. */
const schemaVersion = 41;
const datasource = { type: 'prometheus', uid: '${datasource}' };

/** The dashboard as Grafana exports it. */
export function grafanaJson(dashboard: Dashboard): object {
  return {
    uid: `windlass-${dashboard.name}`,
    title: dashboard.title,
    description: dashboard.description,
    tags: ['windlass'],
    schemaVersion,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timepicker: {},
    timezone: '',
    annotations: { list: [] },
    links: [{ title: 'Windlass', type: 'dashboards', tags: ['windlass'], asDropdown: true, includeVars: false, keepTime: true }],
    templating: { list: [datasourceVariable, ...dashboard.variables.map(variableJson)] },
    panels: panelsJson(dashboard),
  };
}

const datasourceVariable = { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', current: {} };

function variableJson({ name, label, of }: Variable): object {
  const query = `label_values(${of}, ${name})`;
  return {
    name,
    label,
    type: 'query',
    datasource,
    definition: query,
    query: { query, refId: 'values' },
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { text: ['All'], value: ['$__all'] },
  };
}

/** Rows one under the other, their panels from left to right. */
function panelsJson({ rows }: Dashboard): object[] {
  const made: object[] = [];
  let [id, y] = [1, 0];
  for (const row of rows) {
    made.push({ id: id++, type: 'row', title: row.title, collapsed: false, panels: [], gridPos: { x: 0, y, w: 24, h: 1 } });
    y += 1;
    let [x, rowHeight] = [0, 0];
    for (const panel of row.panels) {
      const h = panel.height ?? (panel.type === 'stat' ? 4 : 8);
      if (x + panel.width > 24) {
        y += rowHeight;
        [x, rowHeight] = [0, 0];
      }
      made.push({ id: id++, ...panelJson(panel), gridPos: { x, y, w: panel.width, h } });
      x += panel.width;
      rowHeight = Math.max(rowHeight, h);
    }
    y += rowHeight;
  }
  return made;
}

function panelJson(panel: Panel): object {
  const { title, description, type, unit, queries, max, decimals, words } = panel;
  const isNow = type !== 'timeseries';
  const steps = [[null, 'green'], ...(panel.thresholds ?? [])].map(([value, color]) => ({ value, color }));
  return {
    type,
    title,
    description,
    datasource,
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCodePoint('A'.codePointAt(0)! + index),
      datasource,
      editorMode: 'code',
      expr,
      legendFormat: legend,
      ...(isNow ? { instant: true, range: false } : { range: true }),
      ...(type === 'table' ? { format: 'table' } : {}),
    })),
    fieldConfig: {
      defaults: {
        unit,
        min: unit === 'dateTimeFromNow' ? undefined : 0,
        max,
        decimals,
        thresholds: { mode: 'absolute', steps },
        color: { mode: type === 'timeseries' ? 'palette-classic' : 'thresholds' },
        mappings: words
          ? [{ type: 'value', options: Object.fromEntries(Object.entries(words).map(([value, text]) => [value, { text }])) }]
          : [],
        custom: type === 'timeseries' ? drawing(panel) : {},
      },
      overrides: [],
    },
    options: options[type],
    ...(type === 'table' ? { transformations: [{ id: 'organize', options: { excludeByName: { Time: true } } }] } : {}),
  };
}

function drawing({ stacked = false }: Panel): object {
  return {
    drawStyle: 'line',
    lineWidth: 1,
    fillOpacity: stacked ? 40 : 8,
    showPoints: 'never',
    spanNulls: false,
    stacking: { mode: stacked ? 'normal' : 'none', group: 'A' },
  };
}

const reduceOptions = { calcs: ['lastNotNull'], fields: '', values: false };
const options: Record<Panel['type'], object> = {
  timeseries: {
    legend: { showLegend: true, displayMode: 'table', placement: 'bottom', calcs: ['lastNotNull', 'max'] },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
  stat: { reduceOptions, colorMode: 'value', graphMode: 'none', textMode: 'auto', justifyMode: 'auto', orientation: 'auto' },
  bargauge: { reduceOptions, displayMode: 'basic', orientation: 'horizontal', valueMode: 'color', showUnfilled: true },
  table: { showHeader: true, cellHeight: 'sm' },
};
