import { expect, test } from 'vitest'
import { acknowledgement, Acknowledgements } from '../../broker/acknowledgements.ts'
import type { PublisherSide } from '../../broker/publisher-side.ts'

/** A publisher that notes what is staged for it, and can be over. */
class NotedPublisher {
  unacknowledged = 0
  readonly staged: number[] = []
  readonly host = { closed: false }

  stageAcknowledgement(staged: number): boolean {
    this.unacknowledged -= 1
    return this.staged.push(staged & 0xffff) === 1
  }

  writeAcknowledgements(): void {}

  asPublisher(): PublisherSide {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- all that the ring uses of one
    return this as unknown as PublisherSide
  }
}

test('what closed connections waited for makes room for others, whose acknowledgements all come, in order', () => {
  const acknowledgements = new Acknowledgements()
  const lasting = new NotedPublisher()
  for (let round = 0; round < 500; round++) {
    const gone = new NotedPublisher()
    for (let id = 1; id <= 20; id++) acknowledgements.push(gone.asPublisher(), acknowledgement.puback, id, round * 21 + id)
    acknowledgements.push(lasting.asPublisher(), acknowledgement.puback, round + 1, round * 21 + 21)
    gone.host.closed = true
  }
  expect(acknowledgements.waiting).toBeLessThan(3000)
  acknowledgements.release(250 * 21 + 1)
  expect(lasting.staged).toEqual(Array.from({ length: 250 }, (_, index) => index + 1))
  acknowledgements.release(Infinity)
  expect(lasting.staged).toEqual(Array.from({ length: 500 }, (_, index) => index + 1))
  expect([acknowledgements.waiting, lasting.unacknowledged]).toEqual([0, 0])
})

test('as many as are waited for are kept', () => {
  const acknowledgements = new Acknowledgements()
  const publishers = Array.from({ length: 10 }, () => new NotedPublisher())
  for (let ordinal = 0; ordinal < 50_000; ordinal++) {
    const publisher = publishers[ordinal % 10] ?? new NotedPublisher()
    acknowledgements.push(publisher.asPublisher(), acknowledgement.pubrec, (ordinal % 65_535) + 1, ordinal)
    // The front moves, so that the ring is full with its end before its front.
    if (ordinal % 7 === 0) acknowledgements.release(ordinal / 7)
  }
  acknowledgements.release(50_000)
  for (const [index, { staged }] of publishers.entries()) {
    expect(staged).toEqual(Array.from({ length: 5000 }, (_, turn) => turn * 10 + index + 1))
  }
})
