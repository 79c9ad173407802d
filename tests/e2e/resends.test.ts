import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connectAsync, type IClientPublishOptions, type MqttClient } from 'mqtt'
import { describe, expect, it } from 'vitest'
import { DupStore } from '../harness/dup-store.ts'
import { LossyProxy } from '../harness/lossy-proxy.ts'
import { readLedger } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

/** The values that the API has of a device, in the order of their times. */
async function valuesOf(httpUrl: string, device: string): Promise<readonly unknown[]> {
  const query = new URLSearchParams({ device, measurement: 'mqtt', limit: '10000', order: 'asc' })
  const response = await fetch(`${httpUrl}/api/v1/query?${query.toString()}`)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  const { items } = (await response.json()) as { readonly items: readonly { readonly fields: { readonly flow: unknown } }[] }
  return items.map(({ fields }) => fields.flow)
}

/** Every record has its outcome; the ledger, with what never entered. */
async function settledLedger(httpUrl: string): Promise<Awaited<ReturnType<typeof readLedger>>> {
  return await eventually('nothing is left in the journal', async () => {
    const ledger = await readLedger(httpUrl)
    return ledger.inJournal === 0 ? ledger : undefined
  })
}

async function resendsSinceStart(httpUrl: string): Promise<number> {
  const response = await fetch(`${httpUrl}/api/v1/ledger`)
  const { sinceStart } = (await response.json()) as { readonly sinceStart: { readonly resends: number } }
  return sinceStart.resends
}

interface Setting {
  readonly folder: string
  readonly proxy: LossyProxy
  readonly client: MqttClient
  tidegate: Tidegate
}

/** A Tidegate, and a client that reaches it through a network that may lose acknowledgements. */
async function withLostAcknowledgements(clean: boolean, run: (setting: Setting) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-resends-'))
  const tidegate = await Tidegate.start({ folder })
  const proxy = await LossyProxy.open(tidegate.mqttPort)
  const outgoingStore = new DupStore()
  const client = await connectAsync(proxy.url, { clientId: 'pump-1', clean, outgoingStore, reconnectPeriod: 20, connectTimeout: 2000 })
  client.on('error', () => undefined)
  const setting: Setting = { folder, proxy, client, tidegate }
  try {
    await run(setting)
  } finally {
    await client.endAsync(true)
    await proxy[Symbol.asyncDispose]()
    await setting.tidegate[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
}

/** SIGKILL, and another one in its place. */
async function restart(setting: Setting): Promise<void> {
  const { mqttPort, httpPort } = setting.tidegate
  await setting.tidegate.kill()
  setting.proxy.deaf = false
  setting.tidegate = await Tidegate.start({ folder: setting.folder, mqttPort, httpPort })
}

describe('a reading without a time of its own, sent again because its acknowledgement was lost', () => {
  const cases: readonly [string, IClientPublishOptions, boolean][] = [
    ['QoS 1', { qos: 1 }, true],
    ['QoS 2', { qos: 2 }, true],
    ['QoS 2 and a persistent session', { qos: 2 }, false]
  ]
  it.each(cases)('is stored once after SIGKILL between the append and the acknowledgement: %s', async (_, options, clean) => {
    await withLostAcknowledgements(clean, async setting => {
      const { client, proxy } = setting
      await client.publishAsync('plant/pump/flow', '1.5', options)
      proxy.deaf = true
      const second = client.publishAsync('plant/pump/flow', '2.5', options)
      await eventually('its acknowledgement is lost', () => (proxy.lostBytes >= 4 ? true : undefined))
      await restart(setting)
      await second
      await client.publishAsync('plant/pump/flow', '2.5', options)
      const { httpUrl } = setting.tidegate
      expect(await settledLedger(httpUrl)).toMatchObject({ accepted: 3, stored: 3, balanced: true })
      expect(await valuesOf(httpUrl, 'plant/pump')).toEqual([1.5, 2.5, 2.5])
      expect(await resendsSinceStart(httpUrl)).toBe(1)
    })
  })

  it('is stored once when only the connection breaks', async () => {
    await withLostAcknowledgements(true, async ({ client, proxy, tidegate: { httpUrl } }) => {
      proxy.deaf = true
      const publishing = client.publishAsync('plant/pump/flow', '1.5', { qos: 1 })
      await eventually('its acknowledgement is lost', () => (proxy.lostBytes >= 4 ? true : undefined))
      proxy.cutAll()
      proxy.deaf = false
      await eventually('it is sent again', async () => ((await resendsSinceStart(httpUrl)) === 1 ? true : undefined))
      await publishing
      expect(await settledLedger(httpUrl)).toMatchObject({ accepted: 1, stored: 1, balanced: true })
      expect(await valuesOf(httpUrl, 'plant/pump')).toEqual([1.5])
    })
  })

  it('is stored once each, when hundreds of the same value are on their way at the SIGKILL', async () => {
    await withLostAcknowledgements(true, async setting => {
      const { client, proxy } = setting
      const count = 600
      const publishes: Promise<unknown>[] = []
      for (let number = 0; number < count; number++) {
        if (number === 100) proxy.deaf = true
        publishes.push(client.publishAsync('plant/pump/flow', '7', { qos: number % 3 === 0 ? 2 : 1 }))
        // A few at a time, so that the kill comes between them.
        if (number % 20 === 0) await new Promise(resolve => setImmediate(resolve))
        if (number === 450) await eventually('some are acknowledged in vain', () => (proxy.lostBytes > 400 ? true : undefined))
      }
      await restart(setting)
      await Promise.all(publishes)
      const { httpUrl } = setting.tidegate
      expect(await settledLedger(httpUrl)).toMatchObject({ accepted: count, stored: count, balanced: true })
      expect(await valuesOf(httpUrl, 'plant/pump')).toEqual(Array.from({ length: count }, () => 7))
      expect(await resendsSinceStart(httpUrl)).toBeGreaterThan(100)
    })
  })
})
