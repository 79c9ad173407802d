/** How often and when the crash tests kill: `npm run test:crash -- --cycles 200 --seed 8` (tests/harness/suite.mjs). */
export const cycles = numberOf('TIDEGATE_CRASH_CYCLES', 30)
export const seed = numberOf('TIDEGATE_CRASH_SEED', 7)

/** What repeats a run, for its name. */
export const repeatedBy = `npm run test:crash -- --cycles ${cycles} --seed ${seed}`

const earliestMs = 100
const latestMs = 5_000

function numberOf(variable: string, otherwise: number): number {
  const given = Number(process.env[variable] ?? otherwise)
  if (!Number.isSafeInteger(given) || given < 1) throw new Error(`${variable} is not a whole number above 0`)
  return given
}

/**
 * Moments between 0.1 and 5 s, the same for the same seed and name of a test. Short ones are as likely as long ones on a
 * logarithmic scale: most goes on in the first second after a start.
 */
export function momentsOf(name: string): () => number {
  const random = randomFrom(Buffer.from(name).reduce((hash, byte) => Math.imul(hash, 31) + byte, seed))
  return () => Math.round(earliestMs * (latestMs / earliestMs) ** random())
}

/** A small seeded generator (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
