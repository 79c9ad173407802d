import { describe, expect, it } from 'vitest'
import { Outbox } from '../../channel/outbox.ts'

/** A peer that takes a message only when the test lets it. */
function slowPeer() {
  const got: string[] = []
  const pending: ((error: Error | null) => void)[] = []
  const outbox = new Outbox<string>((message, done) => {
    got.push(message)
    pending.push(done)
  })
  return { outbox, got, take: (error: Error | null = null) => pending.shift()?.(error) }
}

describe('Outbox', () => {
  it('has one message under way and sends the rest in the order of posting', () => {
    const { outbox, got, take } = slowPeer()
    outbox.post('a')
    outbox.post('b')
    outbox.post('c')
    expect(got).toEqual(['a'])
    take()
    expect(got).toEqual(['a', 'b'])
    take()
    take()
    expect(got).toEqual(['a', 'b', 'c'])
  })

  it('keeps only the newest of what repeats, however slow the peer is', () => {
    const { outbox, got, take } = slowPeer()
    outbox.post('first')
    for (let value = 0; value < 10_000; value++) outbox.postNewest('durable', () => `durable ${value}`)
    outbox.postNewest('edge', () => 'edge')
    expect(outbox.waiting).toBe(2)
    take()
    take()
    take()
    expect(got).toEqual(['first', 'durable 9999', 'edge'])
  })

  it('sends nothing for a value that is gone when its turn comes', () => {
    const { outbox, got, take } = slowPeer()
    outbox.post('x')
    outbox.postNewest('gone', () => undefined)
    outbox.postNewest('there', () => 'y')
    take()
    expect(got).toEqual(['x', 'y'])
  })

  it('forgets everything once the peer is gone', () => {
    const { outbox, got, take } = slowPeer()
    outbox.post('a')
    outbox.post('b')
    take(new Error('channel closed'))
    outbox.post('c')
    outbox.postNewest('k', () => 'd')
    expect(got).toEqual(['a'])
    expect(outbox.waiting).toBe(0)
  })
})
