// A room of its own for a node or a switch: process, mount and network namespaces that the kernel takes away with their first process.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { capture } from './command.ts';
import type { Processes } from './processes.ts';
import { until } from './wait.ts';

/** PID 1 of the room: covers what programs write to outside of their own folders, settings of the machine included, and reaps orphans. */
const init = String.raw`
set -e
mount --make-rshared /
for folder in /run /var/lib /var/log /usr/libexec; do mount -t tmpfs -o mode=755 tmpfs $folder; done
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  mkdir -p /run/settings/$setting
  cat /proc/sys/$setting >/run/settings/$setting/value
  mount --bind /run/settings/$setting/value /proc/sys/$setting
done
ip link set lo up
touch "$0"
while :; do sleep infinity & wait $!; done
`;

export class Sandbox {
  /** All that is inside ends with this process. `ip link ... netns` takes it as the name of the network. */
  readonly pid: number;

  private constructor(pid: number) {
    this.pid = pid;
  }

  /** `folder` is where it says that it is there; nothing of the machine's network is seen inside. */
  static async create(name: string, folder: string, processes: Processes): Promise<Sandbox> {
    const mark = join(folder, 'sandbox-is-up');
    const rooms = ['--pid', '--mount', '--net', '--fork', '--kill-child', '--mount-proc'];
    const child = processes.start(`${name}-sandbox`, 'unshare', [...rooms, 'bash', '-c', init, mark]);
    await Promise.race([processes.failed, until(`sandbox ${name}`, async () => existsSync(mark))]);
    return new Sandbox(child.pid ?? 0);
  }

  /** The command that runs a program inside: with all namespaces, or only in its network. */
  enter(where: 'all' | 'network' = 'all'): string[] {
    const network = `--net=/proc/${this.pid}/ns/net`;
    if (where === 'network') return ['nsenter', network, '--'];
    return ['nsenter', `--mount=/proc/${this.pid}/ns/mnt`, network, `--pid=/proc/${this.pid}/ns/pid_for_children`, '--'];
  }

  /** Runs a command in its network to the end. */
  async run(...command: readonly string[]): Promise<string> {
    const [first = '', ...rest] = [...this.enter('network'), ...command];
    return await capture(first, rest);
  }
}
