import * as fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { tellStories } from '../../harness/stories.ts'
import { stories } from './steps.ts'
import { World } from './world.ts'

// A new journal draws its identity; the only chance that is not the story's would be that.
vi.mock('node:crypto', async original => ({
  ...(await original<object>()),
  randomUUID: () => '0a1b2c3d-4e5f-4a6b-8c7d-8e9f0a1b2c3d',
  randomInt: () => 0x1234_5678
}))

/**
 * The promises of the journal against a machine that fails, seed by seed. TIDEGATE_JOURNAL_SEEDS says how many;
 * TIDEGATE_JOURNAL_SEED begins with another one, or repeats one story when it has a path (`1234:56:7`), and tells it.
 */
const seeds = Number(process.env['TIDEGATE_JOURNAL_SEEDS'] ?? 200)
const from = process.env['TIDEGATE_JOURNAL_SEED'] ?? ''

test(`whatever fails, what was acknowledged is readable once, as it was, at its place (${seeds} seeds)`, async () => {
  await tellStories({
    stories,
    play: (story, trace) => World.play(story, trace),
    seeds,
    from,
    repeatedBy: 'npm run test:journal -- --seed '
  })
}, 3_600_000)

test('a story goes the same way each time it is told', async () => {
  for (const story of fc.sample(stories, { numRuns: 10, seed: 4711 })) {
    const tellings: string[][] = [[], []]
    for (const lines of tellings) await World.play(story, line => lines.push(line))
    expect(tellings[0]?.length).toBeGreaterThan(10)
    expect(tellings[1]).toEqual(tellings[0])
  }
})
