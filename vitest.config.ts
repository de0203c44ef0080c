import { defineConfig } from 'vitest/config';

/** A condition that is waited for has its time, however busy the machine is; one that never comes costs a failing test this long. */
const expectation = { poll: { timeout: 60_000 } };

/**
 * unit: no I/O beyond temporary folders. native: loads the addon, one process per file. cluster: talks to a real API server, started once.
 * e2e: starts `windlass` itself. nodes: starts whole clusters; not part of `npm test`, but of `npm run e2e`.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          expect: expectation,
          setupFiles: 'tests/property-seed.ts',
          include: ['{crds,operator,runtime,kernels,hack,bin,tests/bench}/**/*.test.ts'],
          exclude: ['**/*.native.test.ts'],
          maxWorkers: 2,
          testTimeout: 90_000,
          hookTimeout: 90_000,
        },
      },
      {
        test: {
          name: 'native',
          expect: expectation,
          setupFiles: 'tests/property-seed.ts',
          include: ['{runtime,kernels}/**/*.native.test.ts', 'tests/{native,parity}/**/*.test.ts'],
          pool: 'forks',
          maxWorkers: 1,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
      {
        test: {
          name: 'cluster',
          expect: expectation,
          include: ['tests/cluster/**/*.test.ts'],
          globalSetup: 'tests/cluster/setup.ts',
          pool: 'forks',
          maxWorkers: 1,
          maxConcurrency: 20,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'nodes',
          expect: expectation,
          include: ['tests/nodes/**/*.test.ts'],
          pool: 'forks',
          maxWorkers: 1,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'e2e',
          expect: expectation,
          include: ['tests/e2e/**/*.test.ts'],
          pool: 'forks',
          maxWorkers: 1,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
