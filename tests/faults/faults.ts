/** A defect to plant: a place in a source file, what to put there, and the suites that must notice. */
export interface Fault {
  readonly name: string
  readonly file: string
  /** Stands in the file exactly once. */
  readonly find: string
  readonly replace: string
  /** Test files or folders, as vitest takes them. */
  readonly caughtBy: readonly string[]
}

export const faults: readonly Fault[] = []
