// Names of the pods of this machine, for processes that look for each other: what DNS does in a cluster, as a file of `IP NAME...` lines.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Pod } from '#operator/kube/core.ts';

export class HostsFile {
  readonly #folder: string;
  readonly #namesByNamespace = new Map<string, Map<string, string>>();

  constructor(stateDir: string) {
    this.#folder = join(stateDir, 'hosts');
  }

  /** Forgets what an earlier life left. */
  clear(): void {
    this.#namesByNamespace.clear();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The file that pods of a namespace read. */
  pathFor(namespace: string): string {
    return join(this.#folder, namespace);
  }

  /** The pod answers to its name, and to `<name>.<subdomain>`, from now on. */
  set(pod: Pod, address: string): void {
    const names = this.#namesOf(pod);
    const { hostname = pod.metadata.name, subdomain } = pod.spec;
    names.set(uidOf(pod), `${address} ${subdomain === undefined ? '' : `${hostname}.${subdomain} `}${hostname}\n`);
    this.#write(pod, names);
  }

  /** The pod has ended. */
  remove(pod: Pod): void {
    const names = this.#namesOf(pod);
    if (names.delete(uidOf(pod))) this.#write(pod, names);
  }

  #namesOf({ metadata: { namespace = 'default' } }: Pod): Map<string, string> {
    const known = this.#namesByNamespace.get(namespace);
    if (known) return known;
    const names = new Map<string, string>();
    this.#namesByNamespace.set(namespace, names);
    return names;
  }

  /** In place at once, so that a process that starts next finds itself and no reader sees half a file. The newest owner of a name comes first. */
  #write({ metadata: { namespace = 'default' } }: Pod, names: ReadonlyMap<string, string>): void {
    const path = this.pathFor(namespace);
    mkdirSync(this.#folder, { recursive: true });
    writeFileSync(`${path}~`, [...names.values()].toReversed().join(''));
    renameSync(`${path}~`, path);
  }
}

function uidOf({ metadata: { uid, name } }: Pod): string {
  return uid ?? name;
}
