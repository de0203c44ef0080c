import { describe, expect, it } from 'vitest';
import { probe, servePages } from './health-server.ts';
import { profilePages } from './profile.ts';

async function ask(port: number, path: string, method = 'GET'): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
  return [response.status, await response.text()];
}

describe('pages', () => {
  it('answer by path: probes with their reason, failures with their message', async () => {
    let problem: string | undefined = 'starting';
    const served = await servePages('127.0.0.1:0', {
      '/readyz': probe(() => problem),
      '/broken': () => {
        throw new Error('no metrics');
      },
    });
    expect(await ask(served.port, '/readyz')).toEqual([503, 'starting\n']);
    problem = undefined;
    expect(await ask(served.port, '/readyz?verbose')).toEqual([200, 'ok\n']);
    expect(await ask(served.port, '/readyz', 'POST')).toEqual([405, 'only GET\n']);
    expect(await ask(served.port, '/broken')).toEqual([500, 'no metrics\n']);
    expect(await ask(served.port, '/constructor')).toEqual([404, 'not found\n']);
    await served.close();
  });

  it('need an address that is one, and free', async () => {
    await expect(servePages('8080', {})).rejects.toThrow('8080 is no address: give HOST:PORT or :PORT');
    const served = await servePages('127.0.0.1:0', {});
    await expect(servePages(`127.0.0.1:${served.port}`, {})).rejects.toThrow('EADDRINUSE');
    await served.close();
  });

  it('give profiles of the process, one after the other', async () => {
    const served = await servePages('127.0.0.1:0', profilePages);
    const [cpu, heap] = await Promise.all([
      ask(served.port, '/debug/profile?seconds=0.05'),
      ask(served.port, '/debug/heap?seconds=0.05'),
    ]);
    expect(JSON.parse(cpu[1])).toMatchObject({ nodes: expect.any(Array) as unknown[], samples: expect.any(Array) as unknown[] });
    expect(JSON.parse(heap[1])).toMatchObject({ head: expect.any(Object) as object });
    expect(await ask(served.port, '/debug/profile?seconds=1000')).toEqual([500, 'seconds must be more than 0 and at most 300\n']);
    await served.close();
  });
});
