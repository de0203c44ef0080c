// The ceiling: a process that does nothing but POST pods that were made into bytes before, over as many resting connections as it is told. It
// neither watches nor reads what comes back beyond its status.
import { Agent, request } from 'node:https';
import type { Access } from './access.ts';

export interface RawOrder {
  readonly access: Access;
  readonly namespace: string;
  readonly bodies: readonly string[];
  /** Connections, each with one request at a time. */
  readonly parallel: number;
}

export interface RawAnswer {
  /** Statuses other than 201. */
  readonly refused: readonly number[];
  readonly cpuMs: number;
}

let agent: Agent | undefined;

process.on('message', ({ access, namespace, bodies, parallel }: RawOrder) => {
  void post(access, `/api/v1/namespaces/${namespace}/pods`, bodies, parallel).then((answer) => process.send?.(answer));
});
process.on('disconnect', () => process.exit());

async function post(access: Access, path: string, bodies: readonly string[], parallel: number): Promise<RawAnswer> {
  agent ??= new Agent({ keepAlive: true, ca: access.ca });
  const send = (method: string, to: string, body?: Buffer): Promise<number> =>
    new Promise((done, reject) => {
      const headers = {
        authorization: `Bearer ${access.token}`,
        'user-agent': 'raw',
        ...(body ? { 'content-type': 'application/json', 'content-length': body.length } : {}),
      };
      const sent = request(new URL(to, access.url), { method, agent, headers }, (response) => {
        response
          .once('error', reject)
          .once('end', () => done(response.statusCode ?? 0))
          .resume();
      });
      sent.once('error', reject).end(body);
    });
  const bytes = bodies.map((body) => Buffer.from(body));
  // Handshakes are not what is measured.
  await Promise.all(Array.from({ length: parallel }, () => send('GET', '/version')));
  const cpu = process.cpuUsage();
  const refused: number[] = [];
  const work = async (): Promise<void> => {
    for (let body = bytes.pop(); body; body = bytes.pop()) {
      const status = await send('POST', path, body);
      if (status !== 201) refused.push(status);
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  const { user, system } = process.cpuUsage(cpu);
  return { refused, cpuMs: (user + system) / 1000 };
}
