import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connectAsync } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deadLettersCommand, listLetters, listPlant, publishLetters, rawPayload, rawRoutes, rawTopic } from '../harness/letters.ts'
import { readLedger } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

async function counted(tidegate: Tidegate, name: string): Promise<number> {
  const text = await (await fetch(`${tidegate.httpUrl}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? NaN)
}

describe('dead letters, with the real processes', () => {
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'tidegate-letters-'))
  })
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })

  it('look, fix the route, replay: stored with the time of their receipt, and the ledger balances', async () => {
    let before
    {
      await using tidegate = await Tidegate.start({ folder })
      await publishLetters(tidegate, 300)
      before = await listLetters(tidegate)
      expect(before.map(letter => letter.payload).toSorted()).toEqual(Array.from({ length: 300 }, (_, n) => rawPayload(n)).toSorted())
      // Nothing has changed: they fail again, as letters of new records, once each.
      expect(await deadLettersCommand(tidegate, 'replay', '--topic', rawTopic)).toMatchObject({ code: 0 })
      await eventually('they are dead letters again', async () => ((await listLetters(tidegate)).length === 300 ? true : undefined))
      const again = await listLetters(tidegate)
      const plain = (letters: typeof again) => letters.map(({ time, payload, clientId, reason }) => ({ time, payload, clientId, reason }))
      expect(plain(again)).toEqual(plain(before))
      expect(await readLedger(tidegate.httpUrl)).toMatchObject({ accepted: 600, deadLettered: 600, balanced: true })
      expect(await tidegate.stop()).toBe(0)
    }
    await using tidegate = await Tidegate.start({ folder, set: { routes: rawRoutes } })
    const subscriber = await connectAsync(tidegate.mqttUrl, { clientId: 'listener' })
    const heard: string[] = []
    subscriber.on('message', (topic, payload) => heard.push(`${topic} ${payload.toString()}`))
    await subscriber.subscribeAsync('#', { qos: 1 })
    const { code, out } = await eventually('the store is open', async () => {
      const run = await deadLettersCommand(tidegate, 'replay', '--reason', 'broken-json')
      return run.out.includes('TG_STORE_UNAVAILABLE') ? undefined : run
    })
    expect([code, JSON.parse(out)]).toEqual([0, { replayed: 300, failed: 0, remaining: 0, error: null }])
    const points = await eventually('they are stored', async () => {
      const found = await listPlant(tidegate)
      return found.length === 300 ? found : undefined
    })
    expect(points.map(({ time, value }) => `${time} ${String(value)}`)).toEqual(before.map(({ time, payload }) => `${time} ${payload}`))
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ accepted: 900, stored: 300, deadLettered: 600, balanced: true })
    expect(await listLetters(tidegate)).toEqual([])
    expect([await counted(tidegate, 'tidegate_dead_letters_replayed_total'), await counted(tidegate, 'tidegate_dead_letters')]).toEqual([
      600, 0
    ])
    // Subscribers had them when they came.
    await subscriber.publishAsync('devices/last/telemetry', '{"v":1}', { qos: 1 })
    await eventually('the subscriber hears', () => (heard.length > 0 ? true : undefined))
    expect(heard).toEqual(['devices/last/telemetry {"v":1}'])
    await subscriber.endAsync()
  })

  it('purges what a filter says, then all, and remembers it across a restart', async () => {
    {
      await using tidegate = await Tidegate.start({ folder })
      await publishLetters(tidegate, 20)
      const client = await connectAsync(tidegate.mqttUrl, { clientId: 'other' })
      await client.publishAsync('devices/x/telemetry', '{"a":null}', { qos: 1 })
      await client.endAsync()
      await eventually('it is a dead letter', async () => ((await listLetters(tidegate)).length === 21 ? true : undefined))
      const run = await deadLettersCommand(tidegate, 'purge', '--reason', 'broken-json')
      expect([run.code, JSON.parse(run.out)]).toEqual([0, { purged: 20 }])
      await tidegate.kill()
    }
    await using tidegate = await Tidegate.start({ folder })
    const letters = await eventually('the store is open', async () => await listLetters(tidegate))
    expect(letters.map(letter => letter.reason)).toEqual(['null-value'])
    expect(await deadLettersCommand(tidegate, 'purge')).toMatchObject({ code: 1 })
    expect(JSON.parse((await deadLettersCommand(tidegate, 'purge', '--all')).out)).toEqual({ purged: 1 })
    expect([await counted(tidegate, 'tidegate_dead_letters_purged_total'), await counted(tidegate, 'tidegate_dead_letters')]).toEqual([
      21, 0
    ])
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ deadLettered: 21, balanced: true })
  })
})
