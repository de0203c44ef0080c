// Writes into the chart what the code knows: the CRDs, the rules of the operator's roles, and those for people who read or edit our objects.
import { stringify } from 'yaml';
import { group } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { access, peopleAccess } from '#operator/controllers/access.ts';
import type { Access, PeopleAccess } from '#operator/controllers/access.ts';
import { generateCrds } from './gen-crds.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

const chart = 'charts/windlass';

export function generateChart(): { path: string; text: string }[] {
  return [
    { path: `${chart}/templates/_access.tpl`, text: accessTemplates() },
    ...generateCrds().map(({ path, text }) => ({ path: `${chart}/files/${path}`, text })),
  ];
}

function accessTemplates(): string {
  const parts = [
    '{{- /* Generated from operator/controllers/access.ts by `npm run gen`; do not edit. */ -}}\n',
    ...(['watched', 'cluster', 'own'] as const).map((where) =>
      define(
        `windlass.access.${where}`,
        access.filter((line) => line.where === where).map((line) => `# ${line.why}\n${stringify([ruleOf(line)])}`),
      ),
    ),
    define('windlass.access.view', [stringify([peopleRule(['get', 'list', 'watch'], true)]), ...commandRules('view')]),
    define('windlass.access.edit', [
      stringify([peopleRule(['create', 'update', 'patch', 'delete', 'deletecollection'], false)]),
      ...commandRules('edit'),
    ]),
  ];
  return parts.join('');
}

/** A named template. What looks like one inside of a text would be run as one. */
function define(name: string, rules: readonly string[]): string {
  const text = rules.join('').trimEnd();
  if (text.includes('{{')) throw new Error(`${name} would contain a template: ${text}`);
  return `{{- define "${name}" -}}\n${text}\n{{- end }}\n`;
}

function ruleOf({ type, subresource, names, verbs }: Access): Rule {
  return {
    apiGroups: [type.group],
    resources: [subresource === undefined ? type.plural : `${type.plural}/${subresource}`],
    ...(names ? { resourceNames: names } : {}),
    verbs,
  };
}

/** What commands need besides our kinds. */
function commandRules(role: PeopleAccess['role']): string[] {
  return peopleAccess
    .filter((line) => line.role === role)
    .map(({ group: apiGroup, resources: named, verbs, why }) => {
      const rule: Rule = { apiGroups: [apiGroup], resources: named, verbs };
      return `# ${why}\n${stringify([rule])}`;
    });
}

/** All our kinds; only those of a namespace, and how many replicas there are, for who edits. */
function peopleRule(verbs: readonly string[], isReading: boolean): Rule {
  const named = resources.filter(({ namespaced }) => isReading || namespaced).map(({ plural }) => plural);
  const scaled = resources.filter(({ definition }) => definition.scale).map(({ plural }) => `${plural}/scale`);
  return { apiGroups: [group], resources: [...named, ...scaled], verbs };
}
