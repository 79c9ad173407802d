/** A defect to plant: a place in a source file, what to put there, and the suites that must notice. */
export interface Fault {
  readonly name: string
  readonly file: string
  /** Stands in the file exactly once. */
  readonly find: string
  readonly replace: string
  /** The smallest suites that notice: test files, as vitest takes them. */
  readonly caughtBy: readonly string[]
}

export const endToEnd = 'tests/e2e/acknowledged.test.ts'
/** The journal on a simulated disk: seeds, and stories that broke a promise once. */
export const simulation = 'tests/journal/simulation/promises.test.ts'
export const simulatedStories = 'tests/journal/simulation/stories.test.ts'

/** One record in 100,000: the end-to-end suite sends 105,000. */
export const rare = (ordinal: string): string => `${ordinal} % 100_000 === 77_777`
