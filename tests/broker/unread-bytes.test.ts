import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { UnreadBytes } from '../../broker/unread-bytes.ts'
import type { Unread } from '../../broker/unread-bytes.ts'
import { RawClient, pingreq, serveBroker, until } from './raw-client.ts'

/** A client's socket in numbers. */
class Peer implements Unread {
  unreadBytes = 0
  readBytes = 0
  drops = 0

  drop(): void {
    this.drops += 1
    this.unreadBytes = 0
  }
}

describe('what clients have not read', () => {
  test('is bounded for all together: the one that has read nothing for longest goes, not the largest and not one that reads', async () => {
    const unread = new UnreadBytes(100)
    const [frozen, slow, large, idle] = [new Peer(), new Peer(), new Peer(), new Peer()]
    unread.note(idle)
    expect(unread.has(idle)).toBe(false)
    for (const [peer, bytes] of [
      [slow, 20],
      [frozen, 20],
      [large, 60]
    ] as const) {
      peer.unreadBytes = bytes
      unread.note(peer)
    }
    expect(unread.bytes).toBe(100)
    // It came first and has never read all, but it reads.
    slow.readBytes += 1
    unread.look()
    await nextTurn()
    expect([slow, frozen, large].map(({ drops }) => drops)).toEqual([0, 0, 0])
    slow.unreadBytes = 21
    unread.note(slow)
    unread.note(slow)
    await nextTurn()
    expect([slow, frozen, large].map(({ drops }) => drops)).toEqual([0, 1, 0])
    expect(unread.bytes).toBe(81)
    large.unreadBytes = 0
    slow.unreadBytes = 0
    unread.look()
    expect([unread.bytes, unread.has(slow), unread.has(large)]).toEqual([0, false, false])
  })

  test('one that reads in the turn in which the bound is passed is not taken for one that does not', async () => {
    const unread = new UnreadBytes(100)
    const [first, second] = [new Peer(), new Peer()]
    for (const peer of [first, second]) {
      peer.unreadBytes = 60
      unread.note(peer)
    }
    first.unreadBytes = 0
    await nextTurn()
    expect([first.drops, second.drops, unread.bytes]).toEqual([0, 0, 60])
  })

  test('ends a client that does not read, frees its bytes, and leaves the others alone', async () => {
    await using served = await serveBroker({ limits: { unreadBytesTotal: 32_768 } })
    using reader = await RawClient.connect(served.port, 'reader')
    using mute = await RawClient.connect(served.port, 'mute')
    mute.socket.pause()
    const pings = Buffer.alloc(100_000, pingreq)
    for (let sent = 0; served.broker.stats.violations === 0 && sent < 1000; sent++) {
      mute.send(pings)
      reader.send(pingreq)
      await reader.received(sent + 2)
    }
    expect(served.broker.refusals.map(({ clientId, reason }) => ({ clientId, reason }))).toEqual([
      { clientId: 'mute', reason: 'it has read nothing for longest when too many bytes waited for clients to read them' }
    ])
    await until(() => served.broker.stats.unreadBytes === 0, 'nothing waits')
    await until(() => served.broker.stats.sockets === 1, 'its socket is gone')
    expect(reader.closed).toBe(false)
    mute.socket.destroy()
  })
})
