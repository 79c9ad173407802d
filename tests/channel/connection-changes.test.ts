import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { ConnectionChanges } from '../../channel/connection-changes.ts'

const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
const steps = fc.array(fc.oneof(fc.constant('take' as const), fc.constantFrom(...ids)), { maxLength: 60 })

it('whoever hears all messages knows who is connected, whatever the bound; no more is remembered than the bound', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 6 }), steps, (bound, given) => {
      const connected = new Set<string>()
      const heard = new Set<string>()
      const changes = new ConnectionChanges(bound)
      const hear = (): void => {
        const message = changes.take(() => [...connected])
        if (message?.type !== 'connections') return
        if (message.all) heard.clear()
        for (const id of message.disconnected) heard.delete(id)
        for (const id of message.connected) heard.add(id)
      }
      for (const step of given) {
        if (step === 'take') hear()
        else if (connected.delete(step)) changes.note({ connected: [], disconnected: [step] })
        else changes.note({ connected: [...connected.add(step)].slice(-1), disconnected: [] })
        expect(changes.size).toBeLessThanOrEqual(bound)
      }
      hear()
      expect(heard).toEqual(connected)
      expect(changes.take(() => [...connected])).toBeUndefined()
    })
  )
})
