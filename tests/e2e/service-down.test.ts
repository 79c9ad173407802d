import { describe, expect, it } from 'vitest'
import { RawClient, connect, disconnect, pingreq, publish, subscribe } from '../broker/raw-client.ts'
import { readLedger } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const deadlineMs = 30_000

/** Kills every service that appears, until it is disposed of. */
function keepServiceDown(tidegate: Tidegate): { readonly kills: () => number } & Disposable {
  const killed = new Set<number>()
  const killNow = (): void => {
    const pid = tidegate.servicePid()
    if (pid === undefined) return
    try {
      process.kill(pid, 'SIGKILL')
      killed.add(pid)
    } catch {
      // It has ended already.
    }
  }
  killNow()
  const timer = setInterval(killNow, 5)
  return { kills: () => killed.size, [Symbol.dispose]: () => clearInterval(timer) }
}

/** The payloads that the store has of a topic of one level: its publisher is the device. */
async function storedOf(httpUrl: string, clientId: string): Promise<readonly unknown[]> {
  const query = new URLSearchParams({ device: clientId, measurement: 'mqtt', order: 'asc' })
  const response = await fetch(`${httpUrl}/api/v1/query?${query.toString()}`)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  const { items } = (await response.json()) as { readonly items: readonly { readonly fields: Readonly<Record<string, unknown>> }[] }
  return items.map(({ fields }) => fields['value'])
}

describe('while the service is down', () => {
  it('sessions are taken over, wills are published or not, keep alive runs out, and the store has it all afterwards', async () => {
    await using tidegate = await Tidegate.start()
    const { mqttPort, httpUrl } = tidegate
    const will = (payload: string) => ({ topic: 'lwt', payload, qos: 1 })
    using watcher = await RawClient.connect(mqttPort, 'watcher', { clean: false })
    watcher.send(subscribe(1, ['lwt', 1]))
    await watcher.received(2)
    {
      using down = keepServiceDown(tidegate)
      await eventually('the service does not answer', async () => {
        try {
          await fetch(`${httpUrl}/healthz`)
          return undefined
        } catch {
          return true
        }
      })

      // A takeover: the will of the first, then what the second sends.
      using first = await RawClient.connect(mqttPort, 'taken', { clean: false, will: will('"taken over"') })
      using second = await RawClient.open(mqttPort)
      second.send(connect('taken', { clean: false }), publish('lwt', '"taken again"', { qos: 1, id: 1 }))
      expect(await second.received(2, deadlineMs)).toEqual(['connack:1,0', 'puback:1'])
      await first.untilClosed(deadlineMs)
      expect((await watcher.received(4, deadlineMs)).slice(2)).toEqual(['publish:1:lwt:"taken over"', 'publish:1:lwt:"taken again"'])

      // An end without a word, and one with DISCONNECT.
      using broken = await RawClient.connect(mqttPort, 'broken', { will: will('"broken"') })
      broken.socket.resetAndDestroy()
      expect((await watcher.received(5, deadlineMs)).at(-1)).toBe('publish:1:lwt:"broken"')
      using polite = await RawClient.connect(mqttPort, 'polite', { will: will('"never"') })
      polite.send(disconnect)
      await polite.untilClosed(deadlineMs)

      // One and a half keep alives, not less; one that pings lives on.
      const connectedMs = performance.now()
      using silent = await RawClient.connect(mqttPort, 'silent', { keepAlive: 2, will: will('"silent"') })
      using pinging = await RawClient.connect(mqttPort, 'pinging', { keepAlive: 2, will: will('"never"') })
      const pings = setInterval(() => pinging.send(pingreq), 200)
      await silent.untilClosed(deadlineMs)
      const silentMs = performance.now() - connectedMs
      clearInterval(pings)
      expect(silentMs).toBeGreaterThanOrEqual(3000)
      expect((await watcher.received(6, deadlineMs)).at(-1)).toBe('publish:1:lwt:"silent"')
      expect(pinging.closed).toBe(false)
      pinging.send(disconnect)
      await pinging.untilClosed(deadlineMs)
      expect(down.kills()).toBeGreaterThan(1)
    }
    const ledger = await eventually(
      'the service is back, and nothing is left in the journal',
      async () => {
        const { inJournal, accepted, stored, balanced } = await readLedger(httpUrl)
        return inJournal === 0 && balanced ? { accepted, stored } : undefined
      },
      60_000
    )
    expect(ledger).toEqual({ accepted: 4, stored: 4 })
    expect(await storedOf(httpUrl, 'taken')).toEqual(['taken over', 'taken again'])
    expect(await storedOf(httpUrl, 'broken')).toEqual(['broken'])
    expect(await storedOf(httpUrl, 'silent')).toEqual(['silent'])
    for (const clientId of ['polite', 'pinging']) expect(await storedOf(httpUrl, clientId)).toEqual([])
    expect(watcher.packets).toHaveLength(6)
  }, 150_000)
})
