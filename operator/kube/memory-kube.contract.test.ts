import { describe } from 'vitest';
import { MemoryKube } from './memory-kube.ts';
import { kubeClientContract } from './testing/contract.ts';

describe('in-memory API', () => {
  kubeClientContract(async () => ({ client: new MemoryKube(), namespace: 'default', close: async () => {} }));
});
