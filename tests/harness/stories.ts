import * as fc from 'fast-check'

/** Plays a story; throws where a promise does not hold, and tells each step to `trace`. */
export type Play<Story> = (story: Story, trace?: (line: string) => void) => Promise<void>

interface TellingOptions<Story> {
  readonly stories: fc.Arbitrary<Story>
  readonly play: Play<Story>
  /** How many. */
  readonly seeds: number
  /** '' for any seed, or one to begin with, or one with its path (`1234:56:7`), whose story alone is played and told. */
  readonly from: string
  /** What repeats a story that failed, up to its seed and path. */
  readonly repeatedBy: string
}

/** Plays many stories. Throws with the shortest that fails, after it has printed the line that repeats it. */
export async function tellStories<Story>({ stories, play, seeds, from, repeatedBy }: TellingOptions<Story>): Promise<void> {
  const [given = '', ...path] = from.split(':')
  const told: string[] = []
  const property = fc.asyncProperty(stories, async story => {
    await play(story, path.length === 0 ? undefined : line => told.push(line))
  })
  const { failed, seed, counterexample, counterexamplePath, errorInstance } = await fc.check(property, {
    numRuns: path.length > 0 ? 1 : seeds,
    ...(given !== '' && { seed: Number(given) }),
    ...(path.length > 0 && { path: path.join(':'), endOnFailure: true })
  })
  if (told.length > 0) console.log(told.join('\n'))
  if (!failed) return
  console.log(`${repeatedBy}${seed}:${counterexamplePath}`)
  throw new Error(
    `${errorInstance instanceof Error ? errorInstance.message : String(errorInstance)}\n${JSON.stringify(counterexample?.[0])}`,
    { cause: errorInstance }
  )
}
