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

/** TIDEGATE_STATE_SEEDS says how many stories; TIDEGATE_STATE_SEED repeats one with its path (`1234:56:7`), and tells it. */
const seeds = Number(process.env['TIDEGATE_STATE_SEEDS'] ?? 300)
const from = process.env['TIDEGATE_STATE_SEED'] ?? ''

test(`whatever fails, sessions, their messages and what is retained are there as far as they were answered for (${seeds} seeds)`, async () => {
  await tellStories({ stories, play: (story, trace) => World.play(story, trace), seeds, from, repeatedBy: 'TIDEGATE_STATE_SEED=' })
}, 3_600_000)

test('a story goes the same way each time it is told', async () => {
  for (const story of fc.sample(stories, { numRuns: 5, seed: 4711 })) {
    const tellings: string[][] = [[], []]
    for (const lines of tellings) await World.play(story, line => lines.push(line))
    expect(tellings[0]?.length).toBeGreaterThan(10)
    expect(tellings[1]).toEqual(tellings[0])
  }
})
