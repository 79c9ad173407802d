import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { HeldDatabase } from '../../storage/port.ts'
import { checkpoint, collect, makeFolder, newYearNs, openStore, point, query, source } from './embedded-fixture.ts'

const never = new AbortController().signal
const lamp = source('lamp')

/** Whether another process can open the database. */
async function isFree(folder: string): Promise<boolean> {
  const duckdb = pathToFileURL(createRequire(import.meta.url).resolve('@duckdb/node-api')).href
  const script = `
    import duckdb from ${JSON.stringify(duckdb)}
    try {
      await duckdb.DuckDBInstance.create(${JSON.stringify(join(folder, 'tidegate.duckdb'))})
      process.stdout.write('free')
    } catch (error) {
      process.stdout.write(/lock/i.test(String(error)) ? 'taken' : String(error))
    }`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  if (stdout !== 'free' && stdout !== 'taken') throw new Error(stdout)
  return stdout === 'free'
}

async function copyTo(folder: string, { files }: HeldDatabase): Promise<void> {
  for (const file of files) {
    const bytes = Buffer.alloc(file.bytes)
    for (let at = 0; at < bytes.length;) {
      const piece = bytes.subarray(at)
      at += await file.read(piece, Math.min(65_536, piece.length), at)
    }
    await writeFile(join(folder, file.name), bytes)
  }
}

test('what is copied while the database is held is one moment of it: its checkpoint and exactly its points', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  let position = 0
  let writing = true
  const stop = new AbortController()
  const writes = (async () => {
    while (!stop.signal.aborted) {
      position += 1
      const points = Array.from({ length: 50 }, (_, index) =>
        point(lamp, newYearNs + BigInt(position * 50 + index), { n: position }, position)
      )
      await store.write({ points, fields: [], devices: [] }, async () => checkpoint(position))
      writing = true
    }
  })()
  try {
    for (let round = 0; round < 8; round++) {
      await using copy = await makeFolder()
      const held = await store.hold(async database => {
        writing = false
        await copyTo(copy.path, database)
        // Queries are answered meanwhile, and nothing was written.
        expect(await store.countPoints()).toBe((database.checkpoint?.position ?? 0) * 50)
        expect(writing).toBe(false)
        return database.checkpoint
      }, never)
      await using copied = await openStore(copy.path)
      expect(copied.catalogue.checkpoint()).toEqual(held)
      const values = (await collect(copied.raw(query()))).map(row => row.fields[0]?.value)
      expect(values).toEqual(Array.from({ length: (held?.position ?? 0) * 50 }, (_, index) => Math.floor(index / 50) + 1))
    }
  } finally {
    stop.abort()
    await writes
  }
  expect(position).toBeGreaterThan(3)
})

test('the database stays locked after it was read, and is free when it is closed', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  await store.write({ points: [point(lamp, newYearNs, { n: 1 })], fields: [], devices: [] }, async () => checkpoint(1))
  for (let round = 0; round < 2; round++) await store.hold(async database => expect(database.files.length).toBeGreaterThan(0), never)
  expect(await isFree(folder.path)).toBe(false)
  await store[Symbol.asyncDispose]()
  expect(await isFree(folder.path)).toBe(true)
})

test('who fails or gives up while the database is held lets it go', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  await expect(store.hold(async () => await Promise.reject(new Error('broken')), never)).rejects.toThrow('broken')
  await expect(store.hold(async () => 1, AbortSignal.abort())).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
  await store.write({ points: [point(lamp, newYearNs, { n: 1 })], fields: [], devices: [] }, async () => checkpoint(1))
  expect(await store.countPoints()).toBe(1)
})
