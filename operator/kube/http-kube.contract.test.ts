import { describe } from 'vitest';
import { HttpKube } from './http-kube.ts';
import { kubeClientContract } from './testing/contract.ts';
import { startRestServer } from './testing/rest-server.ts';
import { Transport } from './transport.ts';

describe.each([
  { name: 'with WatchList', watchList: true },
  { name: 'without WatchList', watchList: false },
])('HTTP client $name', ({ watchList }) => {
  kubeClientContract(async () => {
    const server = await startRestServer();
    server.watchList = watchList;
    server.pageSize = 2;
    const transport = new Transport(server.access());
    const close = async () => {
      transport.close();
      await server.close();
    };
    return { client: new HttpKube(transport), namespace: 'default', close };
  });
});
