import { median, round } from './figures.ts'

/** `--short` shows in a minute that a measurement works; its figures are printed and not kept. */
export const short = process.argv.includes('--short')

/** A length, or a tenth of it in a short run. */
export function seconds(full: number): number {
  return short ? Math.max(1, Math.round(full / 10)) : full
}

/**
 * Measures each of `names` once a round, each round beginning with another one: what disturbs the machine for a while
 * disturbs all of them, and none is always the one behind the same other. One round in a short run.
 */
export async function takeTurns<Name extends string, Result>(
  names: readonly Name[],
  rounds: number,
  measure: (name: Name) => Promise<Result>
): Promise<Readonly<Record<Name, readonly Result[]>>> {
  const results = Object.fromEntries(names.map(name => [name, []])) as unknown as Record<Name, Result[]>
  for (let turn = 0; turn < (short ? 1 : rounds); turn++) {
    const first = turn % names.length
    for (const name of [...names.slice(first), ...names.slice(0, first)]) results[name].push(await measure(name))
  }
  return results
}

/** The median of the ratios that the rounds had: what slowed a whole round down is in both parts of its ratio. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): number {
  return round(median(ours.map((value, turn) => value / (theirs[turn] ?? Number.NaN))))
}
