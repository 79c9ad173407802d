import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Message } from '../../../broker/routing/message.ts'
import type { Subscription } from '../../../broker/routing/subscription.ts'
import { ByteWriter } from '../../../broker/state/byte-writer.ts'
import { decodeEntry, encodeEntry } from '../../../broker/state/entry-codec.ts'
import type { QueuedDelivery, StateEntry } from '../../../broker/state/entry.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const ordinal = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 300 }), fc.constant(Number.MAX_SAFE_INTEGER))
const packetId = fc.integer({ min: 0, max: 65_535 })
const bytes = fc.uint8Array({ maxLength: 300 }).map(array => Buffer.from(array))
const qos = fc.constantFrom(0 as const, 1 as const, 2 as const)
const seconds = fc.integer({ min: 0, max: 0xffff_ffff })

const subscription: fc.Arbitrary<Subscription> = fc.record({
  filter: text,
  qos,
  noLocal: fc.boolean(),
  retainAsPublished: fc.boolean(),
  retainHandling: qos,
  identifier: fc.option(fc.integer({ min: 1, max: 268_435_455 }), { nil: undefined })
})

const message: fc.Arbitrary<Message> = fc.record({
  ordinal,
  topic: text,
  payload: bytes,
  qos,
  retain: fc.boolean(),
  clientId: text,
  properties: fc.option(bytes, { nil: undefined }),
  expiry: fc.option(fc.record({ seconds, takenMs: fc.integer({ min: -1_000_000, max: 1_000_000_000 }) }), { nil: undefined })
})

const sent = fc.record({ ordinal, packetId, released: fc.boolean(), retained: fc.boolean() })
const queued: fc.Arbitrary<QueuedDelivery> = fc.record({
  ordinal,
  qos: fc.constantFrom(1 as const, 2 as const),
  packetId,
  released: fc.boolean(),
  retained: fc.boolean(),
  retain: fc.boolean(),
  identifiers: fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 5 })
})

const change = { clientId: text, position: ordinal }
const entries: fc.Arbitrary<StateEntry> = fc.oneof(
  fc.record({ kind: fc.constant('begin' as const), version: fc.nat(), journal: text, position: ordinal }),
  fc.record({ kind: fc.constant('resumed' as const), journal: text, position: ordinal }),
  fc.record({ kind: fc.constant('end' as const), begin: ordinal }),
  fc.record({ kind: fc.constant('stands' as const), position: ordinal }),
  fc.record({
    kind: fc.constant('session' as const),
    clientId: text,
    routed: ordinal,
    head: ordinal,
    expirySeconds: seconds,
    offline: fc.option(fc.record({ position: ordinal, sinceMs: fc.maxSafeNat() }), { nil: undefined }),
    lastPacketId: packetId,
    receivedIds: fc.array(fc.tuple(packetId, ordinal), { maxLength: 10 })
  }),
  fc.record({ kind: fc.constant('subscriptions' as const), clientId: text, subscriptions: fc.array(subscription, { maxLength: 10 }) }),
  fc.record({ kind: fc.constantFrom('message' as const, 'retained' as const), message }),
  fc.record({ kind: fc.constant('queued' as const), clientId: text, deliveries: fc.array(queued, { maxLength: 20 }) }),
  fc.record({ kind: fc.constantFrom('opened' as const, 'detached' as const), ...change, expirySeconds: seconds }),
  fc.record({ kind: fc.constant('ended' as const), ...change }),
  fc.record({ kind: fc.constant('released' as const), ...change, packetId }),
  fc.record({ kind: fc.constant('subscribed' as const), ...change, subscription }),
  fc.record({ kind: fc.constant('unsubscribed' as const), ...change, filter: text }),
  fc.record({
    kind: fc.constant('progress' as const),
    ...change,
    progress: fc.record({ sentBelow: ordinal, lastPacketId: packetId, sent: fc.array(sent, { maxLength: 20 }) })
  })
)

const writer = new ByteWriter()
const wallOffsetMs = 1_700_000_000_000

function encoded(entry: StateEntry): Buffer {
  writer.clear()
  encodeEntry(writer, entry, wallOffsetMs)
  return Buffer.from(writer.bytes)
}

const clientIdOf = (entry: StateEntry): string => ('clientId' in entry ? entry.clientId : '')
const decoded = (bytes: Buffer, clientId = ''): StateEntry | undefined => decodeEntry(clientId, bytes, wallOffsetMs)

test('every entry is read as it was written', () => {
  fc.assert(
    fc.property(entries, entry => {
      expect(decoded(encoded(entry), clientIdOf(entry))).toEqual(entry)
    }),
    { numRuns: 2000 }
  )
})

test('an entry that is cut anywhere is none; only a payload, which is all that is left, may be shorter', () => {
  fc.assert(
    fc.property(entries, entry => {
      const whole = encoded(entry)
      for (let length = 0; length < whole.length; length++) {
        const cut = decoded(whole.subarray(0, length), clientIdOf(entry))
        if (cut === undefined) continue
        expect('message' in cut && 'message' in entry && entry.message.payload.subarray(0, cut.message.payload.length)).toEqual(
          'message' in cut && cut.message.payload
        )
      }
    }),
    { numRuns: 300 }
  )
})

test('whatever bits are flipped, what is read is an entry or none', () => {
  fc.assert(
    fc.property(entries, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 7 })), { minLength: 1, maxLength: 4 }), (entry, flips) => {
      const flipped = encoded(entry)
      for (const [at, bit] of flips) flipped[at % flipped.length] = (flipped[at % flipped.length] ?? 0) ^ (1 << bit)
      const read = decoded(flipped, clientIdOf(entry))
      if (read === undefined) return
      // Written again it says the same.
      expect(decoded(encoded(read), clientIdOf(read))).toEqual(read)
    }),
    { numRuns: 3000 }
  )
})

test('a list that claims more elements than there are bytes is none', () => {
  expect(decoded(Buffer.from([7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]))).toBeUndefined()
  expect(decoded(Buffer.from([200]))).toBeUndefined()
  expect(decoded(Buffer.alloc(0))).toBeUndefined()
})
