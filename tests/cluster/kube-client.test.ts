// Our client does on a real API server what it does on the in-memory one.
import { describe, expect, it } from 'vitest';
import { Model } from '#crds/v1alpha1/index.ts';
import { isExpired } from '#operator/kube/errors.ts';
import { follow, kubeClientContract } from '#operator/kube/testing/contract.ts';
import { connect, newNamespace } from './kube.ts';

describe('HTTP client on a real API server', () => {
  kubeClientContract(async () => {
    const { client, transport } = await connect();
    return { client, namespace: await newNamespace(client), close: async () => transport.close() };
  });

  it('lists more than a page, all of one version', async () => {
    const { client, transport } = await connect();
    const namespace = await newNamespace(client);
    const names = Array.from({ length: 1100 }, (_, index) => `model-${String(index).padStart(4, '0')}`);
    await Promise.all(
      names.map((name) =>
        client.create(Model, {
          apiVersion: Model.apiVersion,
          kind: 'Model',
          metadata: { name, namespace },
          spec: {},
        }),
      ),
    );
    const { items, resourceVersion } = await client.list(Model, { namespace });
    expect(items.map(({ metadata }) => metadata.name)).toEqual(names);
    await using watch = follow(client, Model, { namespace, resourceVersion });
    await client.delete(Model, { namespace, name: names[7]! });
    expect(await watch.said(1)).toEqual([`DELETED ${names[7]}`]);
    transport.close();
  });

  it('says that a version is too old to be watched from', async () => {
    const { client, transport } = await connect();
    const signal = new AbortController().signal;
    const read = async () => {
      for await (const event of client.watch(Model, { resourceVersion: '1', signal })) expect.unreachable(event.type);
    };
    await expect(read()).rejects.toSatisfy(isExpired);
    transport.close();
  });
});
