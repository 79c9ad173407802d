import { expect, test } from 'vitest'
import { DurableReplies } from '../../../broker/state/durable-replies.ts'

test('replies of closed connections do not add up, and all others are sent, in order', () => {
  const replies = new DurableReplies()
  const sent: number[] = []
  const lasting = { closed: false }
  for (let round = 0; round < 20_000; round++) {
    const leaving = { closed: false }
    replies.add(round, () => sent.push(-1), leaving)
    leaving.closed = true
    if (round % 100 === 0) replies.add(round, () => sent.push(round), lasting)
  }
  expect(replies.size).toBeLessThan(1500)
  const rounds = Array.from({ length: 200 }, (_, index) => index * 100)
  replies.release(9999)
  expect(sent.filter(round => round >= 0)).toEqual(rounds.slice(0, 100))
  replies.release(20_000)
  expect(sent.filter(round => round >= 0)).toEqual(rounds)
  expect(replies.size).toBe(0)
})
