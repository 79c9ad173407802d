import { EventEmitter } from 'node:events'
import { describe, expect, it } from 'vitest'
import { appendBound, EdgeLink, pinBound } from '../../channel/edge-link.ts'
import type { ToEdge, ToService } from '../../channel/messages.ts'

/** The edge's end of a channel whose sends always succeed. */
class FakeEnd extends EventEmitter {
  readonly sent: ToEdge[] = []

  send(message: ToEdge, _handle: undefined, _options: undefined, done: (error: Error | null) => void): boolean {
    this.sent.push(message)
    done(null)
    return true
  }

  says(message: ToService): void {
    this.emit('message', message)
  }
}

function linked() {
  const end = new FakeEnd()
  const other: ToService[] = []
  const link = new EdgeLink(
    end,
    message => other.push(message),
    () => other.push({ type: 'durable', durable: -1 })
  )
  return { end, link, other }
}

const publish = (text: string) => ({ clientId: 'http', topic: `t/${text}`, payload: Buffer.from(text) })

describe('EdgeLink', () => {
  it('gives each append the ordinal of its own answer, in whatever order they come', async () => {
    const { end, link } = linked()
    const first = link.append(publish('one'))
    const second = link.append(publish('two'))
    expect(end.sent.map(message => (message.type === 'append' ? message.publish.topic : message.type))).toEqual(['t/one', 't/two'])
    end.says({ type: 'appended', request: 2, ordinal: 41 })
    end.says({ type: 'appended', request: 1, ordinal: 40 })
    expect(await Promise.all([first, second])).toEqual([40, 41])
    expect(link.pendingAppends).toBe(0)
  })

  it('tells the checkpoint, and from where on records may be read again', () => {
    const { end, link } = linked()
    link.checkpoint(70, 31)
    expect(end.sent).toEqual([{ type: 'checkpoint', position: 70, keepFrom: 31 }])
  })

  it('passes on why the edge refuses', async () => {
    const { end, link } = linked()
    const answer = link.append(publish('no'))
    end.says({ type: 'appendRefused', request: 1, code: 'TG_JOURNAL_FULL', message: 'the journal is full' })
    await expect(answer).rejects.toMatchObject({ code: 'TG_JOURNAL_FULL', message: 'the journal is full' })
  })

  it('refuses more than the bound of publishes with TG_EDGE_BUSY and takes new ones when answers came', async () => {
    const { end, link } = linked()
    const waiting = Array.from({ length: appendBound.requests }, (_, index) => link.append(publish(String(index))))
    await expect(link.append(publish('one too many'))).rejects.toMatchObject({ code: 'TG_EDGE_BUSY' })
    end.says({ type: 'appended', request: 1, ordinal: 7 })
    expect(await waiting[0]).toBe(7)
    const again = link.append(publish('fits again'))
    end.says({ type: 'appended', request: appendBound.requests + 1, ordinal: 8 })
    expect(await again).toBe(8)
  })

  it('refuses more than the bound of bytes', async () => {
    const { link } = linked()
    const large = { clientId: 'http', topic: 't', payload: new Uint8Array(appendBound.bytes - 10) }
    void link.append(large)
    await expect(link.append(publish('eleven bytes more'))).rejects.toMatchObject({ code: 'TG_EDGE_BUSY' })
  })

  it('hands every other message on', () => {
    const { end, other } = linked()
    end.says({ type: 'durable', durable: 12 })
    end.says({ type: 'drain', deadlineMs: 5 })
    end.emit('disconnect')
    expect(other).toEqual([
      { type: 'durable', durable: 12 },
      { type: 'drain', deadlineMs: 5 },
      { type: 'durable', durable: -1 }
    ])
  })

  it('pins the journal until it is released, once', async () => {
    const { end, link } = linked()
    const pinning = link.pin(70)
    expect(end.sent).toEqual([{ type: 'pin', request: 1, from: 70 }])
    end.says({ type: 'pinned', request: 1, readable: 90 })
    const pin = await pinning
    expect(pin.readable).toBe(90)
    pin.release()
    pin.release()
    expect(end.sent.slice(1)).toEqual([{ type: 'unpin', request: 1 }])
  })

  it('bounds the pins, and one that is refused takes no place', async () => {
    const { end, link } = linked()
    const refused = link.pin(1)
    end.says({ type: 'pinRefused', request: 1, code: 'TG_STARTING', message: 'the journal is not open yet' })
    await expect(refused).rejects.toMatchObject({ code: 'TG_STARTING' })
    const pins = Array.from({ length: pinBound }, () => link.pin(1))
    await expect(link.pin(1)).rejects.toMatchObject({ code: 'TG_EDGE_BUSY' })
    end.says({ type: 'pinned', request: 2, readable: 3 })
    const first = await pins[0]
    first?.release()
    void link.pin(5)
    expect(end.sent.at(-1)).toEqual({ type: 'pin', request: pinBound + 2, from: 5 })
  })
})
