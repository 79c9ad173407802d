import { describe, expect, it } from 'vitest'
import type { ToService } from '../../channel/messages.ts'
import { Outbox } from '../../channel/outbox.ts'
import { ServicePins } from '../../channel/service-pins.ts'
import { TidegateError } from '../../errors.ts'
import { eventually } from '../harness/tidegate.ts'

function pinned() {
  const held = new Set<number>()
  const answers: ((error?: Error) => void)[] = []
  const sent: ToService[] = []
  const outbox = new Outbox<ToService>((message, done) => {
    sent.push(message)
    done(null)
  })
  const pins = new ServicePins({
    pin: async from => {
      await new Promise<void>((resolve, reject) => {
        answers.push(error => (error === undefined ? resolve() : reject(error)))
      })
      held.add(from)
      return { readable: from + 100, release: () => void held.delete(from) }
    }
  })
  return { held, answers, sent, outbox, pins }
}

describe('ServicePins', () => {
  it('holds each pin until it is released', async () => {
    const { held, answers, sent, outbox, pins } = pinned()
    pins.take({ type: 'pin', request: 4, from: 10 }, outbox)
    pins.take({ type: 'pin', request: 5, from: 20 }, outbox)
    for (const answer of answers) answer()
    await eventually('both are answered', () => (sent.length === 2 ? true : undefined))
    expect(sent).toEqual([
      { type: 'pinned', request: 4, readable: 110 },
      { type: 'pinned', request: 5, readable: 120 }
    ])
    pins.release(4)
    pins.release(4)
    expect([...held]).toEqual([20])
    pins.close()
    expect([...held]).toEqual([])
  })

  it('keeps none that was released, or whose service ended, before it was taken', async () => {
    const { held, answers, sent, outbox, pins } = pinned()
    pins.take({ type: 'pin', request: 1, from: 10 }, outbox)
    pins.release(1)
    pins.take({ type: 'pin', request: 2, from: 20 }, outbox)
    pins.close()
    pins.take({ type: 'pin', request: 3, from: 30 }, outbox)
    for (const answer of answers) answer()
    await eventually('the third is answered', () => (sent.length > 0 ? true : undefined))
    expect(sent).toEqual([{ type: 'pinned', request: 3, readable: 130 }])
    expect([...held]).toEqual([30])
  })

  it('passes on why the edge cannot', async () => {
    const { answers, sent, outbox, pins } = pinned()
    pins.take({ type: 'pin', request: 1, from: 10 }, outbox)
    answers[0]?.(new TidegateError('TG_JOURNAL_FAILING', 'the disk'))
    await eventually('it is answered', () => (sent.length > 0 ? true : undefined))
    expect(sent).toEqual([{ type: 'pinRefused', request: 1, code: 'TG_JOURNAL_FAILING', message: 'the disk' }])
  })
})
