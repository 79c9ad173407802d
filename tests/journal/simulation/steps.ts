import * as fc from 'fast-check'
import type { JournalOptions } from '../../../journal/options.ts'
import type { FaultyCall } from './machine.ts'

/** How a journal is opened, and from which ordinal it counts. */
export interface Setting extends Pick<
  JournalOptions,
  'sync' | 'syncDelayMs' | 'segmentBytes' | 'maxBytes' | 'reserveBytes' | 'whenFull' | 'keep'
> {
  readonly pendingBytes: number
  /** As if so many records had been there before: six-byte ordinals and the turn of the nanoseconds are met. */
  readonly firstOrdinal: number
}

/** How the process, or the machine, comes to its end and back. */
export interface Ending {
  readonly kind: 'end'
  readonly how: 'close' | 'kill' | 'power'
  /** After so many ms, or as soon as the next records are told to be durable. */
  readonly when: number | 'told'
  /** Opening is cut short after so many ms by the same again. */
  readonly openingMs: number | undefined
  /** What the catalogue has lost when it comes back. */
  readonly forgets: 'nothing' | 'seconds' | 'everything'
}

export type Step =
  | { readonly kind: 'append'; readonly client: number; readonly count: number; readonly bytes: number }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'read'; readonly maxRecords: number; readonly maxBytes: number }
  | {
      readonly kind: 'fault'
      readonly calls: readonly FaultyCall[]
      readonly error: 'EIO' | 'ENOSPC' | 'short'
      readonly oneIn: number
      readonly times: number
    }
  | { readonly kind: 'slow'; readonly syncMs: number }
  | { readonly kind: 'fill'; readonly freeBytes: number }
  | { readonly kind: 'heal' }
  | { readonly kind: 'clock'; readonly ms: number }
  | { readonly kind: 'restartService' }
  | Ending

export interface Story {
  readonly setting: Setting
  readonly steps: readonly Step[]
  /** Of everything that is chance: how long calls take, which fail, what survives. */
  readonly dice: number
}

/** A bound that no story reaches. */
export const roomyBytes = 1_000_000_000

const setting: fc.Arbitrary<Setting> = fc.record({
  sync: fc.constantFrom('fsync', 'fsync', 'fsync', 'fsync', 'os', 'none'),
  syncDelayMs: fc.constantFrom(0, 2, 20),
  segmentBytes: fc.constantFrom(400, 1500, 6000, 100_000),
  maxBytes: fc.constantFrom(20_000, 60_000, roomyBytes),
  reserveBytes: fc.constantFrom(0, 0, 3000),
  whenFull: fc.constantFrom('reject-new', 'reject-new', 'drop-oldest'),
  keep: fc.record({ timeMs: fc.constantFrom(0, 30_000, 86_400_000), bytes: fc.constantFrom(0, 5000, 10_000_000) }),
  pendingBytes: fc.constantFrom(8000, 40_000, 1_000_000),
  firstOrdinal: fc.constantFrom(0, 0, 0, 999_990, 2 ** 32 - 10)
})

const mutating: readonly FaultyCall[] = ['create', 'write', 'datasync', 'truncate', 'unlink', 'rename', 'syncFolder']
const faulty: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('fault'),
  calls: fc.oneof(
    fc.constantFrom(...mutating, 'freeBytes' as const, 'makeFolder' as const).map(call => [call]),
    fc.constant(mutating),
    fc.constant(['write', 'datasync'] as const)
  ),
  error: fc.constantFrom('EIO', 'EIO', 'ENOSPC', 'short'),
  oneIn: fc.constantFrom(1, 1, 2, 5),
  times: fc.constantFrom(1, 2, 5, 1000)
})

const ending: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('end'),
  how: fc.constantFrom('close', 'kill', 'kill', 'power', 'power', 'power'),
  when: fc.oneof(fc.constantFrom(0, 0.5, 'told' as const), fc.integer({ min: 1, max: 40 })),
  openingMs: fc.oneof(fc.constant(undefined), fc.constant(undefined), fc.integer({ min: 0, max: 12 })),
  forgets: fc.constantFrom('nothing', 'nothing', 'nothing', 'seconds', 'seconds', 'everything')
})

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('append'),
      client: fc.integer({ min: 0, max: 4 }),
      count: fc.integer({ min: 1, max: 25 }),
      bytes: fc.oneof(
        { weight: 20, arbitrary: fc.integer({ min: 0, max: 300 }) },
        { weight: 6, arbitrary: fc.integer({ min: 300, max: 3000 }) },
        { weight: 1, arbitrary: fc.constant(300_000) }
      )
    })
  },
  {
    weight: 7,
    arbitrary: fc.record({ kind: fc.constant('pass'), ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.constantFrom(1500, 61_000)) })
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('read'),
      maxRecords: fc.integer({ min: 1, max: 60 }),
      maxBytes: fc.constantFrom(1, 2000, 100_000)
    })
  },
  { weight: 3, arbitrary: faulty },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('slow'), syncMs: fc.constantFrom(2, 100, 3000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fill'), freeBytes: fc.constantFrom(0, 500, 5000, 30_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('heal') }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('clock'), ms: fc.constantFrom(-3_600_000, 3_600_000, -315_360_000_000, 1_576_800_000_000) })
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restartService') }) },
  { weight: 5, arbitrary: ending }
)

/** What happens to a journal, from its first opening on. */
export const stories: fc.Arbitrary<Story> = fc.record({
  setting,
  steps: fc.array(step, { minLength: 4, maxLength: 40, size: 'max' }),
  dice: fc.nat()
})
