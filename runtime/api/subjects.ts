// Names of the event bus: wl.v1.<namespace>.<name>.<topic>.

/** Subject on which the ranks of a job report progress. */
export function progressSubject(namespace: string, name: string): string {
  return `wl.v1.${namespace}.${name}.progress`;
}

/** Pattern of all subjects of one job. `*` and not `>`: what has more parts is nobody's. */
export function jobSubjects(namespace: string, name: string): string {
  return `wl.v1.${namespace}.${name}.*`;
}

/** Whether a subject fits a pattern: `*` stands for one part, `>` at the end for one or more (the rules of NATS). */
export function subjectMatches(pattern: string, subject: string): boolean {
  const want = pattern.split('.');
  const have = subject.split('.');
  for (const [index, part] of want.entries()) {
    if (part === '>') return have.length > index;
    if (have[index] === undefined || (part !== '*' && part !== have[index])) return false;
  }
  return want.length === have.length;
}
