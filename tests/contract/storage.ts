/**
 * The suite of the storage port: every adapter must pass it. An adapter opens with `queuedQueries: contractQueuedQueries`
 * and a query timeout of some seconds; each call of `open` gives a store of its own without points. Values that only one
 * adapter cannot represent belong in that adapter's tests.
 */
import { describe, expect, it } from 'vitest'
import { aggregates, type AggregateRow, type RawRow, type RowQuery, type Storage } from '../../storage/port.ts'
import type { FieldDefinition, Point } from '../../telemetry.ts'
import { sortLatest, StoreModel } from './model.ts'
import {
  awkwardNames,
  collectRows,
  contractBatch,
  contractCheckpoint,
  contractPoint,
  contractQuery,
  contractSource,
  densePoints,
  expectAggregates,
  expectRows,
  minute,
  mixedPoints,
  second,
  selections,
  t0
} from './readings.ts'

/** A store that a test has opened; disposing closes it, however often it was reopened, and removes its data. */
export interface OpenStorage extends AsyncDisposable {
  readonly storage: Storage
  /** Closes the store and opens the same data again. */
  reopen(): Promise<Storage>
}

export const contractQueuedQueries = 4

/** The suite; call it at the top level of a test file. */
export function storageContract(name: string, open: () => Promise<OpenStorage>): void {
  describe(`storage contract: ${name}`, () => {
    it('is empty when new: no checkpoint, no fields, no devices, no rows', async () => {
      await using opened = await open()
      const { storage } = opened
      expect(storage.catalogue.checkpoint()).toBeUndefined()
      expect(storage.catalogue.fields()).toEqual([])
      expect(storage.catalogue.seriesCount).toBe(0)
      expect(await storage.catalogue.devices({ limit: 10 })).toEqual([])
      expect(await collectRows(storage.raw(contractQuery()))).toEqual([])
      expect(await collectRows(storage.aggregate({ ...contractQuery(), everyNs: minute, aggregates }))).toEqual([])
      expect(await storage.latest('nobody', [], new AbortController().signal)).toEqual([])
      expect(await storage.countPoints()).toBe(0)
    })

    it('answers raw rows in order of time, then source key, for every kind of selection', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      await writeAll(storage, model, mixedPoints(t0))
      for (const query of selections(t0)) expectRows(await collectRows(storage.raw(query)), model.raw(query))
      expect(await storage.countPoints()).toBe(model.size)
    })

    it('takes the start of the time range in and leaves its end out, to the nanosecond', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const source = contractSource('clock')
      const start = t0 + 123_456_789n
      await writeAll(
        storage,
        model,
        Array.from({ length: 6 }, (_, at) => contractPoint(source, start + BigInt(at), { tick: at + 0.25 }))
      )
      const inner = contractQuery({ selection: { fromNs: start + 1n, toNs: start + 4n } })
      const rows = await collectRows(storage.raw(inner))
      expectRows(rows, model.raw(inner))
      expect(rows.map(row => row.timeNs - start)).toEqual([1n, 2n, 3n])
      for (const [fromNs, toNs] of [
        [start + 2n, start + 2n],
        [start + 3n, start + 2n],
        [start + 6n, start + 60n]
      ] as const)
        expect(await collectRows(storage.raw(contractQuery({ selection: { fromNs, toNs } })))).toEqual([])
    })

    it('goes on behind a cursor, so that pages of any size are the whole, in both directions', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const from = t0 + 3_600n * second
      await writeAll(storage, model, mixedPoints(from))
      for (const order of ['asc', 'desc'] as const) {
        const whole = model.raw(contractQuery({ order }))
        for (const limit of [1, 7, 40]) {
          const paged: RawRow[] = []
          let after: RowQuery['after']
          for (;;) {
            const page = await collectRows(storage.raw(contractQuery({ order, limit, ...(after === undefined ? {} : { after }) })))
            expect(page.length).toBeLessThanOrEqual(limit)
            paged.push(...page)
            const end = page.at(-1)
            if (end === undefined || paged.length > whole.length || (limit === 1 && paged.length === 20)) break
            after = { timeNs: end.timeNs, sourceKey: end.source.key }
          }
          expectRows(paged, limit === 1 ? whole.slice(0, 20) : whole)
        }
      }
    })

    it('aggregates per bucket and source, with nearest-rank percentiles, in both directions', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const from = t0 + 86_400n * second + 7n * second
      await writeAll(storage, model, [...mixedPoints(from), ...densePoints(from)])
      for (const everyNs of [second, 7n * second, minute, 3_600n * second, 30n * 86_400n * second]) {
        for (const order of ['asc', 'desc'] as const) {
          const query = {
            ...contractQuery({ order, selection: { fromNs: from - 3n * second, toNs: from + 400n * second } }),
            everyNs,
            aggregates
          }
          expectAggregates(await collectRows(storage.aggregate(query)), model.aggregate(query))
        }
      }
      for (const selected of selections(from)) {
        const query = { ...selected, everyNs: 11n * second, aggregates: ['mean', 'last', 'p95'] as const }
        expectAggregates(await collectRows(storage.aggregate(query)), model.aggregate(query))
      }
    })

    it('pages through aggregates behind a cursor', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      await writeAll(storage, model, mixedPoints(t0 + 5n * second))
      for (const order of ['asc', 'desc'] as const) {
        const asked = { everyNs: 4n * second, aggregates: ['min', 'count'] as const }
        const whole = model.aggregate({ ...contractQuery({ order }), ...asked })
        const paged: AggregateRow[] = []
        let after: RowQuery['after']
        for (;;) {
          const page = await collectRows(
            storage.aggregate({ ...contractQuery({ order, limit: 9, ...(after === undefined ? {} : { after }) }), ...asked })
          )
          paged.push(...page)
          const end = page.at(-1)
          if (end === undefined || paged.length > whole.length) break
          after = { timeNs: end.timeNs, sourceKey: end.source.key }
        }
        expectAggregates(paged, whole)
      }
    })

    it('puts buckets before 1970 and across it where multiples of the width are', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const source = contractSource('old')
      await writeAll(
        storage,
        model,
        [-121, -61, -60, -1, 0, 1, 59, 60].map(at => contractPoint(source, BigInt(at) * second + 3n, { reading: at + 0.5 }))
      )
      const query = { ...contractQuery({ selection: { fromNs: -1000n * second, toNs: 1000n * second } }), everyNs: minute, aggregates }
      expectAggregates(await collectRows(storage.aggregate(query)), model.aggregate(query))
      expectRows(await collectRows(storage.raw(query)), model.raw(query))
    })

    it('answers the newest value of each field by event time, whatever came last', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const points = mixedPoints(t0 + 777n * second)
      await writeAll(storage, model, points)
      await writeAll(storage, model, [
        contractPoint(contractSource('pump/1'), t0, { temperature: -99.5, late: 1.5 }),
        contractPoint(contractSource('pump/1'), t0 + 9_000_000n * second, { temperature: 77.125 })
      ])
      for (const device of new Set(points.map(point => point.source.device))) {
        for (const fields of [[], ['temperature'], ['state', 'no such field']]) {
          expect(sortLatest(await storage.latest(device, fields, new AbortController().signal))).toEqual(model.latest(device, fields))
        }
      }
    })

    it('keeps names and values with every kind of character apart', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const names = awkwardNames
      const points = names.flatMap((name, at) => [
        contractPoint(contractSource(name), t0 + BigInt(at), { value: at + 0.5 }),
        contractPoint(contractSource('plain', name), t0 + BigInt(at), { value: at + 100.5 }),
        contractPoint(contractSource('tagged', 'awkward', { where: name }), t0 + BigInt(at), { value: at + 200.5 }),
        contractPoint(contractSource('tag keyed', 'awkward', { [name]: `at ${at}` }), t0 + BigInt(at), { value: at + 300.5 }),
        contractPoint(contractSource('fields', 'awkward'), t0 + BigInt(at), { [name]: at + 400.5 }),
        contractPoint(contractSource('texts', 'awkward'), t0 + BigInt(at), { text: name })
      ])
      await writeAll(storage, model, points)
      expectRows(await collectRows(storage.raw(contractQuery())), model.raw(contractQuery()))
      for (const name of names) {
        for (const selection of [
          { devices: [name] },
          { measurement: name },
          { tags: [{ name: 'where', value: name }] },
          { fields: [name] },
          { tags: [{ name, value: `at ${names.indexOf(name)}` }] }
        ]) {
          const query = contractQuery({ selection })
          expectRows(await collectRows(storage.raw(query)), model.raw(query))
        }
        expect(sortLatest(await storage.latest(name, [], new AbortController().signal))).toEqual(model.latest(name, []))
        expect((await storage.catalogue.device(name))?.device).toBe(name)
      }
      const query = { ...contractQuery(), everyNs: minute, aggregates }
      expectAggregates(await collectRows(storage.aggregate(query)), model.aggregate(query))
    })

    it('keeps values exactly: int64, floats at their limits, booleans, strings with anything in them', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const integers = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -(2n ** 53n) - 1n, 0n, 9_999_999_999_999_999n]
      const floats = [Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, 0.1, 1e21, 123_456_789_012_345_680, 1e16, -5e-324]
      const strings = [
        '',
        'one\ntwo\r\nthree\ttabbed',
        '"quoted" \\ and \\" and \\\\',
        '12345678901234567890',
        '🌡️ größer 温度',
        'null',
        ',= #',
        'a\u0000b\u0001',
        '\\'
      ]
      const points = [
        ...integers.map((value, at) => contractPoint(contractSource('int'), t0 + BigInt(at), { value })),
        ...floats.map((value, at) => contractPoint(contractSource('float', 'floats'), t0 + BigInt(at), { value })),
        ...[true, false].map((value, at) => contractPoint(contractSource('bool', 'bools'), t0 + BigInt(at), { value })),
        ...strings.map((value, at) => contractPoint(contractSource('text', 'texts'), t0 + BigInt(at), { value }))
      ]
      await writeAll(storage, model, points)
      expectRows(await collectRows(storage.raw(contractQuery())), model.raw(contractQuery()))
      for (const device of ['int', 'float', 'bool', 'text'])
        expect(await storage.latest(device, [], new AbortController().signal)).toEqual(model.latest(device, []))
      const query = { ...contractQuery(), everyNs: minute, aggregates: ['min', 'max', 'first', 'last', 'count', 'p50'] as const }
      expectAggregates(await collectRows(storage.aggregate(query)), model.aggregate(query))
    })

    it('merges later fields into the same source and time, and later values win field by field', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const source = contractSource('merge', 'telemetry', { room: 'attic' })
      await writeAll(storage, model, [contractPoint(source, t0, { a: 1.5, b: 2.5 }), contractPoint(source, t0 + 1n, { a: 11.5 })])
      await writeAll(storage, model, [contractPoint(source, t0, { b: 3.5, c: true }), contractPoint(source, t0 + 1n, { d: 'late' })])
      const rows = await collectRows(storage.raw(contractQuery()))
      expectRows(rows, model.raw(contractQuery()))
      expect(rows[0]?.fields).toEqual([
        { name: 'a', value: 1.5 },
        { name: 'b', value: 3.5 },
        { name: 'c', value: true }
      ])
      expect(await storage.countPoints()).toBe(model.size)
    })

    it('stores a batch that is written again once', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const points = mixedPoints(t0 + 50_000n * second)
      await writeAll(storage, model, points, 10)
      await writeAll(storage, model, points, 10)
      expectRows(await collectRows(storage.raw(contractQuery())), model.raw(contractQuery()))
      expect(await storage.countPoints()).toBe(model.size)
      expect(storage.catalogue.checkpoint()).toEqual(contractCheckpoint(10))
    })

    it('accounts for its points and the checkpoint as they are on disk, all of one moment', async () => {
      await using opened = await open()
      let { storage } = opened
      const model = new StoreModel()
      const expectAccounts = async (position: number | undefined, written: number): Promise<void> => {
        const { checkpoint, points } = await storage.accounts()
        expect(checkpoint).toEqual(position === undefined ? undefined : contractCheckpoint(position))
        const tally = { inserted: written, replaced: written - model.size, expired: 0 }
        expect(points).toEqual(storage.kind === 'embedded' ? { counted: model.size, tally } : undefined)
      }
      await expectAccounts(undefined, 0)
      const points = mixedPoints(t0 + 55_000n * second)
      await writeAll(storage, model, points, 20)
      const { size } = model
      await expectAccounts(20, size)
      await writeAll(storage, model, points, 30)
      await expectAccounts(30, 2 * size)
      // What is being written is not there yet, and what failed never was.
      const late = [contractPoint(contractSource('late'), t0 + 56_000n * second, { a: 1.5, b: true })]
      const failing = storage.write(contractBatch(late), async () => {
        await expectAccounts(30, 2 * size)
        throw new Error('not settled')
      })
      await expect(failing).rejects.toThrow('not settled')
      await expectAccounts(30, 2 * size)
      await writeAll(storage, model, late, 31)
      await expectAccounts(31, 2 * size + 2)
      storage = await opened.reopen()
      await expectAccounts(31, 2 * size + 2)
    })

    it('shows points, catalogue and checkpoint again after it was closed and opened', async () => {
      await using opened = await open()
      const model = new StoreModel()
      const points = mixedPoints(t0 + 60_000n * second)
      await writeAll(opened.storage, model, points, 4711)
      const before = { fields: opened.storage.catalogue.fields(), devices: await opened.storage.catalogue.devices({ limit: 100 }) }
      const storage = await opened.reopen()
      expect(storage.catalogue.checkpoint()).toEqual(contractCheckpoint(4711))
      expect(storage.catalogue.fields().toSorted(byName)).toEqual(before.fields.toSorted(byName))
      expect(await storage.catalogue.devices({ limit: 100 })).toEqual(before.devices)
      expectRows(await collectRows(storage.raw(contractQuery())), model.raw(contractQuery()))
      for (const { source, fields } of points)
        for (const field of fields) expect(storage.catalogue.hasSeries(source, field.name)).toBe(true)
    })

    it('learns fields, series and devices with the batch, not before it is durable', async () => {
      await using opened = await open()
      const { storage } = opened
      const { catalogue } = storage
      const kitchen = contractSource('sensor K', 'home', { room: 'kitchen' })
      const attic = contractSource('sensor A', 'home', { room: 'attic' })
      const batch = contractBatch([
        contractPoint(kitchen, t0, { humidity: 41.5, on: true }),
        contractPoint(attic, t0 + second, { humidity: 52.5 })
      ])
      await storage.write(batch, async rejected => {
        expect(rejected).toEqual([])
        expect(catalogue.hasSeries(kitchen, 'humidity')).toBe(false)
        expect(catalogue.fields()).toEqual([])
        return contractCheckpoint(2)
      })
      expect(catalogue.hasSeries(kitchen, 'humidity')).toBe(true)
      expect(catalogue.hasSeries(attic, 'on')).toBe(false)
      expect(catalogue.seriesCount).toBe(3)
      expect(catalogue.seriesCountOf('sensor K')).toBe(2)
      expect(await catalogue.device('sensor K')).toEqual({
        device: 'sensor K',
        firstSeenMs: Number(t0 / 1_000_000n),
        lastSeenMs: Number(t0 / 1_000_000n),
        clientId: 'client of sensor K',
        measurements: ['home'],
        fields: [
          { measurement: 'home', name: 'humidity', type: 'float' },
          { measurement: 'home', name: 'on', type: 'boolean' }
        ],
        messages: 1,
        points: 2
      })
      expect((await catalogue.devices({ limit: 1 })).map(entry => entry.device)).toEqual(['sensor A'])
      expect((await catalogue.devices({ limit: 5, after: 'sensor A' })).map(entry => entry.device)).toEqual(['sensor K'])
      expect((await catalogue.devices({ limit: 5, search: 'SENSOR k' })).map(entry => entry.device)).toEqual(['sensor K'])
      expect(await catalogue.device('sensor X')).toBeUndefined()
    })

    it('leaves the checkpoint where it was when settling fails, and takes the batch again', async () => {
      await using opened = await open()
      const model = new StoreModel()
      await writeAll(opened.storage, model, [contractPoint(contractSource('first'), t0, { n: 1.5 })], 5)
      const points = [contractPoint(contractSource('second'), t0 + 1n, { n: 2.5 })]
      const failure = new Error('dead letters cannot be written')
      await expect(
        opened.storage.write(contractBatch(points), async () => {
          throw failure
        })
      ).rejects.toBe(failure)
      expect(opened.storage.catalogue.checkpoint()).toEqual(contractCheckpoint(5))
      expect(await opened.storage.catalogue.device('second')).toBeUndefined()
      const storage = await opened.reopen()
      expect(storage.catalogue.checkpoint()).toEqual(contractCheckpoint(5))
      await writeAll(storage, model, points, 6)
      expectRows(await collectRows(storage.raw(contractQuery())), model.raw(contractQuery()))
      expect((await storage.catalogue.device('second'))?.points).toBe(1)
      expect(storage.catalogue.checkpoint()).toEqual(contractCheckpoint(6))
    })

    it('keeps from where on the next start has to write again, changes and forgets it, and writes known points once more', async () => {
      await using opened = await open()
      const source = contractSource('again')
      const points = [contractPoint(source, t0, { level: 1.5 }), contractPoint(source, t0 + 1n, { level: 2.5 })]
      await opened.storage.write(contractBatch(points), async () => ({ ...contractCheckpoint(9), rewriteFrom: 3 }))
      let storage = await opened.reopen()
      expect(storage.catalogue.checkpoint()).toEqual({ ...contractCheckpoint(9), rewriteFrom: 3 })
      const [device] = await storage.catalogue.devices({ limit: 1 })
      await storage.write({ points, fields: [], devices: [] }, async () => ({ ...contractCheckpoint(9), rewriteFrom: 7 }))
      expect(await storage.countPoints()).toBe(2)
      storage = await opened.reopen()
      expect(storage.catalogue.checkpoint()).toEqual({ ...contractCheckpoint(9), rewriteFrom: 7 })
      expect(await storage.catalogue.devices({ limit: 1 })).toEqual([device])
      await storage.write({ points: [], fields: [], devices: [] }, async () => contractCheckpoint(9))
      expect((await opened.reopen()).catalogue.checkpoint()).toEqual(contractCheckpoint(9))
    })

    it('moves the checkpoint with a batch that has no points', async () => {
      await using opened = await open()
      await opened.storage.write({ points: [], fields: [], devices: [] }, async () => contractCheckpoint(99))
      expect(opened.storage.catalogue.checkpoint()).toEqual(contractCheckpoint(99))
      expect((await opened.reopen()).catalogue.checkpoint()).toEqual(contractCheckpoint(99))
    })

    it('streams a large answer in chunks, and can be left early', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const sources = Array.from({ length: 30 }, (_, at) => contractSource(`fleet-${at}`))
      const points = sources.flatMap((source, device) =>
        Array.from({ length: 450 }, (_, at) =>
          contractPoint(source, t0 + BigInt(at) * second + BigInt(device % 3), { value: device * 1000 + at + 0.5 })
        )
      )
      for (let from = 0; from < points.length; from += 9000) await writeAll(storage, model, points.slice(from, from + 9000))
      for (const order of ['asc', 'desc'] as const) {
        const query = contractQuery({ order })
        expectRows(await collectRows(storage.raw(query)), model.raw(query))
      }
      const limited = contractQuery({ limit: 9_345, selection: { fromNs: t0 + 100n * second } })
      expectRows(await collectRows(storage.raw(limited)), model.raw(limited))
      for await (const chunk of storage.raw(contractQuery())) {
        expect(chunk.length).toBeLessThan(points.length)
        break
      }
      const perSecond = { ...contractQuery({ selection: { fromNs: t0 + 100n * second } }), everyNs: second, aggregates: ['mean'] as const }
      expectAggregates(await collectRows(storage.aggregate(perSecond)), model.aggregate(perSecond))
    })

    it('stops a query that is aborted, before and while it runs', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      const points = Array.from({ length: 15_000 }, (_, at) =>
        contractPoint(contractSource(`cut-${at % 5}`), t0 + BigInt(at), { value: at + 0.75 })
      )
      await writeAll(storage, model, points)
      const before = AbortSignal.abort()
      await expect(collectRows(storage.raw(contractQuery({ signal: before })))).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
      await expect(storage.latest('cut-1', [], before)).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
      const aborter = new AbortController()
      const rows: RawRow[] = []
      const reading = (async () => {
        for await (const chunk of storage.raw(contractQuery({ signal: aborter.signal }))) {
          rows.push(...chunk)
          aborter.abort()
        }
      })()
      await expect(reading).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
      expect(rows.length).toBeLessThan(points.length)
      expectRows(rows, model.raw(contractQuery()).slice(0, rows.length))
      expect(storage.outage).toBeUndefined()
      expect(await storage.latest('cut-1', [], new AbortController().signal)).toEqual(model.latest('cut-1', []))
    })

    it('refuses queries that its queue has no place for, and answers the others', async () => {
      await using opened = await open()
      const { storage } = opened
      const model = new StoreModel()
      await writeAll(
        storage,
        model,
        Array.from({ length: 3000 }, (_, at) => contractPoint(contractSource('busy'), t0 + BigInt(at), { value: at + 0.125 }))
      )
      const answers = await Promise.allSettled(Array.from({ length: 40 }, () => collectRows(storage.raw(contractQuery({ limit: 500 })))))
      const answered = answers.filter(answer => answer.status === 'fulfilled')
      const refused = answers.filter(answer => answer.status === 'rejected')
      expect(answered.length).toBeGreaterThan(0)
      expect(refused.length).toBeGreaterThan(0)
      for (const { value } of answered) expectRows(value, model.raw(contractQuery({ limit: 500 })))
      for (const { reason } of refused) expect(reason).toMatchObject({ code: 'TG_QUERY_BUSY' })
      expect(storage.outage).toBeUndefined()
      expectRows(await collectRows(storage.raw(contractQuery({ limit: 5 }))), model.raw(contractQuery({ limit: 5 })))
    })

    it('closes twice without harm', async () => {
      await using opened = await open()
      await opened.storage[Symbol.asyncDispose]()
      await opened.storage[Symbol.asyncDispose]()
    })
  })
}

async function writeAll(storage: Storage, model: StoreModel, points: readonly Point[], position = 1): Promise<void> {
  await storage.write(contractBatch(points), async rejected => {
    expect(rejected).toEqual([])
    return contractCheckpoint(position)
  })
  model.write(points)
}

function byName(a: FieldDefinition, b: FieldDefinition): number {
  return a.measurement + a.field < b.measurement + b.field ? -1 : 1
}
