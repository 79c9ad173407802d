import { defineConfig } from 'vitest/config'

/**
 * Suites by how long they take: `fast` is `npm test`; crash, faults and browser have commands of their own, and so have the
 * journal's simulation and its corruptions, which are in `fast` with few seeds. The fuzzer is not, nor are the conformance suites,
 * which can judge another server too.
 */
const slow = ['tests/crash/**', 'tests/faults/**', 'tests/browser/**', 'tests/fuzz/**', 'tests/conformance/**']

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    setupFiles: ['tests/harness/seed.ts'],
    // One more than two cores: half of what they do is to wait for processes and disks.
    maxWorkers: 3,
    projects: [
      { extends: true, test: { name: 'fast', include: ['tests/**/*.test.ts'], exclude: slow } },
      { extends: true, test: { name: 'conformance', include: ['tests/conformance/**/*.test.ts'] } },
      { extends: true, test: { name: 'journal', include: ['tests/journal/simulation/**/*.test.ts', 'tests/journal/corruption.test.ts'] } },
      { extends: true, test: { name: 'crash', include: ['tests/crash/**/*.test.ts'], testTimeout: 900_000, fileParallelism: false } },
      { extends: true, test: { name: 'faults', include: ['tests/faults/**/*.test.ts'], testTimeout: 900_000, fileParallelism: false } },
      { extends: true, test: { name: 'fuzz', include: ['tests/fuzz/**/*.test.ts'], testTimeout: 7_200_000 } },
      { extends: true, test: { name: 'browser', include: ['tests/browser/**/*.test.ts'], testTimeout: 120_000, fileParallelism: false } }
    ]
  }
})
