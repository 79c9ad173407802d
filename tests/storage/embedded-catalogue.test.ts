import { expect, test } from 'vitest'
import { EmbeddedCatalogue } from '../../storage/embedded-catalogue.ts'
import type { DeviceSighting } from '../../storage/port.ts'
import { checkpoint, makeFolder, openDatabase, source } from './embedded-fixture.ts'

const kitchen = source('kitchen/plug', 'home', { room: 'kitchen' })
const cellar = source('cellar/pump', 'home', { room: 'cellar', floor: '−1' })
const cellarMeter = source('cellar/pump', 'meter')

function sighting(device: string, firstSeenMs: number, lastSeenMs: number, clientId: string | undefined, messages: number): DeviceSighting {
  return { device, firstSeenMs, lastSeenMs, clientId, messages, points: messages * 3 }
}

const change = {
  checkpoint: checkpoint(17),
  fields: [
    { measurement: 'home', field: 'power', type: 'float' },
    { measurement: 'home', field: 'on', type: 'boolean', unit: 'state' },
    { measurement: 'meter', field: 'pulses', type: 'integer' },
    { measurement: 'home', field: 'power_str', type: 'string' }
  ],
  devices: [sighting('kitchen/plug', 1000, 1500, 'plug-7', 2), sighting('cellar/pump', 900, 1600, undefined, 5)],
  series: [
    { source: kitchen, field: 'power', type: 'float' },
    { source: kitchen, field: 'on', type: 'boolean' },
    { source: cellar, field: 'power_str', type: 'string' },
    { source: cellarMeter, field: 'pulses', type: 'integer' },
    { source: kitchen, field: 'power', type: 'float' }
  ]
} as const

async function view(catalogue: EmbeddedCatalogue): Promise<unknown> {
  return {
    checkpoint: catalogue.checkpoint(),
    fields: catalogue.fields().toSorted((a, b) => (a.field < b.field ? -1 : 1)),
    count: catalogue.seriesCount,
    counts: ['kitchen/plug', 'cellar/pump', 'attic'].map(device => catalogue.seriesCountOf(device)),
    devices: await catalogue.devices({ limit: 10 }),
    selected: catalogue.select({ devices: [], tags: [], fields: [] })
  }
}

test('a new catalogue knows nothing', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  expect(catalogue.checkpoint()).toBeUndefined()
  expect(catalogue.fields()).toEqual([])
  expect(catalogue.seriesCount).toBe(0)
  expect(catalogue.hasSeries(kitchen, 'power')).toBe(false)
  expect(await catalogue.devices({ limit: 5 })).toEqual([])
  expect(await catalogue.device('kitchen/plug')).toBeUndefined()
})

test('one commit makes checkpoint, types, devices and series known, and reopening finds the same', async () => {
  await using folder = await makeFolder()
  let before: unknown
  {
    await using database = await openDatabase(folder.path)
    const catalogue = await EmbeddedCatalogue.open(database)
    await catalogue.commit(change)
    before = await view(catalogue)
    expect(catalogue.checkpoint()).toEqual(checkpoint(17))
    expect(catalogue.hasSeries(kitchen, 'power')).toBe(true)
    expect(catalogue.hasSeries(source('kitchen/plug', 'home'), 'power')).toBe(false)
    expect(catalogue.seriesCount).toBe(4)
    expect(catalogue.seriesCountOf('cellar/pump')).toBe(2)
    expect(await catalogue.device('cellar/pump')).toEqual({
      device: 'cellar/pump',
      firstSeenMs: 900,
      lastSeenMs: 1600,
      clientId: undefined,
      measurements: ['home', 'meter'],
      fields: [
        { measurement: 'home', name: 'power_str', type: 'string' },
        { measurement: 'meter', name: 'pulses', type: 'integer' }
      ],
      messages: 5,
      points: 15
    })
  }
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  expect(await view(catalogue)).toEqual(before)
  expect(catalogue.series(cellarMeter, 'pulses')?.source.tags).toEqual({})
})

test('a device seen again keeps its first sighting, takes the newest client and adds its counts', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  await catalogue.commit(change)
  await catalogue.commit({
    fields: [],
    series: [],
    devices: [sighting('kitchen/plug', 800, 1400, 'plug-8', 3), sighting('attic', 5, 6, 'a', 1)]
  })
  expect(await catalogue.device('kitchen/plug')).toMatchObject({
    firstSeenMs: 800,
    lastSeenMs: 1500,
    clientId: 'plug-8',
    messages: 5,
    points: 15
  })
  expect((await catalogue.devices({ limit: 10 })).map(one => one.device)).toEqual(['attic', 'cellar/pump', 'kitchen/plug'])
  expect(catalogue.checkpoint()).toEqual(checkpoint(17))
})

test('devices come in pages by name, and a search finds any part of the name in any case', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  const names = ["O'Neil%", 'Attic', 'attic/2', 'boiler', '_x', 'ünder']
  await catalogue.commit({ fields: [], series: [], devices: names.map((name, index) => sighting(name, index, index, name, index)) })
  const pages: string[] = []
  let after: string | undefined
  for (;;) {
    const page = await catalogue.devices({ limit: 2, ...(after === undefined ? {} : { after }) })
    pages.push(...page.map(one => one.device))
    after = page.at(-1)?.device
    if (after === undefined) break
  }
  expect(pages).toEqual(['Attic', "O'Neil%", '_x', 'attic/2', 'boiler', 'ünder'])
  const search = async (text: string): Promise<string[]> => (await catalogue.devices({ search: text, limit: 9 })).map(one => one.device)
  expect(await search('ATT')).toEqual(['Attic', 'attic/2'])
  expect(await search("'neil%")).toEqual(["O'Neil%"])
  expect(await search('%')).toEqual(["O'Neil%"])
  expect(await search('Ü')).toEqual(['ünder'])
})

test('a transaction that is rolled back leaves tables and memory as they were', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  await catalogue.commit(change)
  const before = await view(catalogue)
  const attempt = database.transaction(async transaction => {
    await catalogue.commit(
      {
        checkpoint: checkpoint(99),
        fields: [{ measurement: 'home', field: 'extra', type: 'float' }],
        devices: [sighting('ghost', 1, 2, undefined, 1)],
        series: [{ source: source('ghost'), field: 'extra', type: 'float' }]
      },
      transaction
    )
    throw new RangeError('not today')
  })
  await expect(attempt).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE', outcome: 'retry' })
  expect(await view(catalogue)).toEqual(before)
  await catalogue.commit({ fields: [], devices: [], series: [{ source: cellar, field: 'late', type: 'float' }] })
  expect(catalogue.series(cellar, 'late')?.id).toBe(4)
})

test('a selection matches measurement, devices, every tag and fields, in order of source and field', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  await catalogue.commit(change)
  const names = (selection: Partial<Parameters<EmbeddedCatalogue['select']>[0]>): string[] =>
    catalogue.select({ devices: [], tags: [], fields: [], ...selection }).map(one => `${one.source.device}:${one.field}`)
  expect(names({})).toEqual(['cellar/pump:power_str', 'kitchen/plug:on', 'kitchen/plug:power', 'cellar/pump:pulses'])
  expect(names({ measurement: 'meter' })).toEqual(['cellar/pump:pulses'])
  expect(names({ devices: ['kitchen/plug', 'kitchen/plug', 'nobody'] })).toEqual(['kitchen/plug:on', 'kitchen/plug:power'])
  expect(
    names({
      tags: [
        { name: 'room', value: 'cellar' },
        { name: 'floor', value: '−1' }
      ]
    })
  ).toEqual(['cellar/pump:power_str'])
  expect(names({ tags: [{ name: 'toString', value: 'x' }] })).toEqual([])
  expect(names({ tags: [{ name: 'device', value: 'cellar/pump' }] })).toEqual(['cellar/pump:power_str', 'cellar/pump:pulses'])
  expect(names({ fields: ['power', 'pulses'] })).toEqual(['kitchen/plug:power', 'cellar/pump:pulses'])
})

test('five thousand new series come in one commit and are found again with their numbers', async () => {
  await using folder = await makeFolder()
  const series = Array.from({ length: 5000 }, (_, index) => ({
    source: source(`device-${index % 700}`, 'bulk', { slot: String(index % 7) }),
    field: `f${index}`,
    type: 'float' as const
  }))
  {
    await using database = await openDatabase(folder.path)
    await (await EmbeddedCatalogue.open(database)).commit({ fields: [], devices: [], series })
  }
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  expect(catalogue.seriesCount).toBe(5000)
  for (const [id, one] of series.entries()) expect(catalogue.seriesById(id)).toEqual({ id, ...one })
})
