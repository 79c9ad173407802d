import * as fc from 'fast-check'
import type { FaultyCall } from '../../journal/simulation/machine.ts'

/** Topics and filters of the stories; `filters` beyond the topics are wildcards. */
export const topics = ['t/0', 't/1', 'u/0'] as const
export const filters = ['t/0', 't/1', 't/+', '#'] as const
export const clients = ['ada', 'bob', 'eve'] as const

interface OfClient {
  readonly client: number
}

export type Step =
  | (OfClient & { readonly kind: 'connect'; readonly clean: boolean })
  | (OfClient & { readonly kind: 'disconnect' })
  | (OfClient & { readonly kind: 'subscribe'; readonly filter: number; readonly qos: 0 | 1 | 2 })
  | (OfClient & { readonly kind: 'unsubscribe'; readonly filter: number })
  | (OfClient & { readonly kind: 'acknowledge'; readonly count: number })
  | (OfClient & {
      readonly kind: 'publish'
      readonly topic: number
      readonly qos: 0 | 1 | 2
      readonly retain: boolean
      readonly bytes: number
      readonly count: number
    })
  | (OfClient & { readonly kind: 'release' })
  | { readonly kind: 'press' }
  | { readonly kind: 'commit' }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'fault'; readonly calls: readonly FaultyCall[]; readonly error: 'EIO' | 'ENOSPC' | 'short'; readonly times: number }
  | { readonly kind: 'heal' }
  | { readonly kind: 'end'; readonly how: 'close' | 'kill' | 'power'; readonly when: number; readonly openingMs: number | undefined }

export interface Story {
  readonly segmentBytes: number
  readonly sliceEntries: number
  readonly whenFull: 'reject-new' | 'drop-oldest'
  readonly steps: readonly Step[]
  /** Of everything that is chance. */
  readonly dice: number
}

const client = fc.nat({ max: clients.length - 1 })
const qos = fc.constantFrom(0 as const, 1 as const, 1 as const, 2 as const, 2 as const)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('connect' as const), client, clean: fc.constantFrom(false, false, false, false, true) })
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('disconnect' as const), client }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('subscribe' as const), client, filter: fc.nat({ max: filters.length - 1 }), qos })
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('unsubscribe' as const), client, filter: fc.nat({ max: filters.length - 1 }) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), client, count: fc.integer({ min: 1, max: 10 }) }) },
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('publish' as const),
      client,
      topic: fc.nat({ max: topics.length - 1 }),
      qos,
      retain: fc.constantFrom(false, false, true),
      bytes: fc.constantFrom(0, 10, 10, 200, 2000),
      count: fc.integer({ min: 1, max: 6 })
    })
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('release' as const), client }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('press' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('commit' as const) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(0, 1, 3, 10, 30, 1500, 61_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('fault' as const),
      calls: fc.constantFrom<readonly FaultyCall[]>(['write'], ['datasync'], ['create'], ['unlink'], ['write', 'datasync', 'create']),
      error: fc.constantFrom('EIO' as const, 'ENOSPC' as const, 'short' as const),
      times: fc.constantFrom(1, 3, 20)
    })
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('heal' as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      how: fc.constantFrom('close' as const, 'kill' as const, 'kill' as const, 'power' as const, 'power' as const),
      when: fc.constantFrom(0, 0.5, 1, 2, 5, 20),
      openingMs: fc.constantFrom(undefined, undefined, 1, 5, 20)
    })
  }
)

/** What happens to a broker's sessions, from its first start on. */
export const stories: fc.Arbitrary<Story> = fc.record({
  segmentBytes: fc.constantFrom(500, 3000, 100_000),
  sliceEntries: fc.constantFrom(1, 1, 2, 5, 256),
  whenFull: fc.constantFrom('reject-new' as const, 'drop-oldest' as const),
  steps: fc.array(step, { minLength: 5, maxLength: 50, size: 'max' }),
  dice: fc.nat()
})
