import { createHash } from 'node:crypto'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import { EmbeddedStatements } from '../../storage/embedded-statements.ts'
import { Turns } from '../../storage/embedded-turns.ts'
import type { RawRow } from '../../storage/port.ts'
import { collect, makeFolder, newYearNs, openDatabase, openStore, point, query, source, write } from './embedded-fixture.ts'

const endless = { sql: 'SELECT count(*) FROM range(100000000000) a(i) WHERE hash(i) % 7 = 3', values: {}, types: {} }
const short = { sql: 'SELECT 1', values: {}, types: {} }
const nothing = (): void => {}
const codeOf = (error: unknown): unknown => (error instanceof TidegateError ? error.code : error)

test('aborting stops a long statement, and its connection serves the next one', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const statements = new EmbeddedStatements(database, { timeoutMs: 60_000, queued: 10 })
  for (let round = 0; round < 5; round += 1) {
    const controller = new AbortController()
    const run = statements.run(endless, controller.signal, nothing)
    // In the first rounds before the statement has begun in its thread, later while it runs.
    for (let turn = 0; turn < round * 20; turn += 1) await new Promise(resolve => setImmediate(resolve))
    controller.abort()
    await expect(run).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
    const values: unknown[] = []
    await statements.run(short, new AbortController().signal, chunk => values.push(...chunk.getRows()))
    expect(values).toEqual([[1]])
  }
  await statements.close()
})

test('a statement that takes too long ends with a code of its own', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const statements = new EmbeddedStatements(database, { timeoutMs: 80, queued: 10 })
  await expect(statements.run(endless, new AbortController().signal, nothing)).rejects.toMatchObject({
    code: 'TG_QUERY_TIMEOUT',
    status: 504
  })
  await statements.close()
})

test('two run, the queue fills, one more is refused, and those that wait can leave', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const statements = new EmbeddedStatements(database, { timeoutMs: 60_000, queued: 2 })
  const controllers = Array.from({ length: 4 }, () => new AbortController())
  const runs = controllers.map(async controller => await statements.run(endless, controller.signal, nothing).catch(codeOf))
  await expect(statements.run(short, new AbortController().signal, nothing)).rejects.toMatchObject({ code: 'TG_QUERY_BUSY', status: 503 })
  controllers[3]?.abort()
  expect(await runs[3]).toBe('TG_QUERY_CANCELLED')
  const next = statements.run(short, new AbortController().signal, nothing)
  controllers[0]?.abort()
  controllers[2]?.abort()
  await next
  controllers[1]?.abort()
  expect(new Set(await Promise.all(runs))).toEqual(new Set(['TG_QUERY_CANCELLED']))
  await statements.close()
})

test('a statement that needs more memory than there is ends alone', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const statements = new EmbeddedStatements(database, { timeoutMs: 60_000, queued: 2 })
  const greedy = {
    sql: 'SELECT length(string_agg(repeat(chr(97 + (i % 20)::INTEGER), 1000))) FROM range(2000000) r(i)',
    values: {},
    types: {}
  }
  await expect(statements.run(greedy, new AbortController().signal, nothing)).rejects.toMatchObject({
    code: 'TG_QUERY_TOO_LARGE',
    outcome: 'reject'
  })
  await statements.run(short, new AbortController().signal, nothing)
  await statements.close()
})

test('a statement that runs while the database is opened again is ended, and the next one is served by the new one', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const statements = new EmbeddedStatements(database, { timeoutMs: 60_000, queued: 2 })
  await database.transaction(async ({ connection }) => void (await connection.run('CREATE TABLE kept AS SELECT 1 AS n')))
  const run = statements.run(endless, new AbortController().signal, nothing).catch(codeOf)
  database.noteFailure(new Error('FATAL Error: database has been invalidated because of a previous fatal error'))
  await database.transaction(async ({ connection }) => void (await connection.run('INSERT INTO kept VALUES (2)')))
  expect(await run).toBe('TG_STORE_UNAVAILABLE')
  expect(database.generation).toBe(1)
  const values: unknown[] = []
  const signal = new AbortController().signal
  await statements.run({ ...short, sql: 'SELECT n FROM kept ORDER BY n' }, signal, chunk => values.push(...chunk.getRows()))
  expect(values).toEqual([[1], [2]])
  await statements.close()
})

test('closing ends what runs', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const statements = new EmbeddedStatements(database, { timeoutMs: 60_000, queued: 2 })
  const run = expect(statements.run(endless, new AbortController().signal, nothing)).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  await new Promise(resolve => setImmediate(resolve))
  await statements.close()
  await run
})

test('a large answer of long texts is read with bounded memory, and a reader that is slow or leaves holds no turn', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path, { queuedQueries: 0 })
  const text = 'x'.repeat(4000)
  for (let batch = 0; batch < 10; batch += 1) {
    const points = Array.from({ length: 2000 }, (_, index) =>
      point(source(`d${index % 50}`), newYearNs + BigInt(batch * 2000 + index), { text: `${batch}/${index}/${text}` })
    )
    await write(store, points)
  }
  // More readers than turns, each stopped in the middle of its answer.
  const readers: AsyncIterator<readonly RawRow[]>[] = []
  for (let reader = 0; reader < 4; reader += 1) {
    const iterator = store.raw(query())[Symbol.asyncIterator]()
    const first = await iterator.next()
    expect(first.done === true ? [] : first.value).toHaveLength(1000)
    readers.push(iterator)
  }
  const before = process.memoryUsage().rss
  let most = 0
  const seen: string[] = []
  for await (const chunk of store.raw(query())) {
    for (const { fields } of chunk) seen.push(String(fields[0]?.value).slice(0, 12).replace(/x*$/, ''))
    most = Math.max(most, process.memoryUsage().rss - before)
  }
  expect(seen).toEqual(Array.from({ length: 20_000 }, (_, index) => `${Math.floor(index / 2000)}/${index % 2000}/`))
  // The whole answer is 80 MB of text, besides as much again in DuckDB; its memory limit is 64 MiB.
  expect(most).toBeLessThan(120 * 1024 ** 2)
  for (const reader of readers) await reader.return?.()
  expect(await collect(store.raw(query({ limit: 1 })))).toHaveLength(1)
})

test('the longest texts that ingest lets pass are written within the memory limit, however many, and read in pieces', async () => {
  await using folder = await makeFolder()
  const said: unknown[] = []
  const loud = pino({ level: 'warn' }, { write: line => said.push(line) })
  await using store = await openStore(folder.path, { log: loud })
  // 84 MB in batches of 4 MiB, as ingest makes them; the memory limit is 64 MiB.
  const textOf = (index: number): string => {
    const part = createHash('sha512').update(String(index)).digest('base64')
    return part.repeat(200).slice(0, 16_384)
  }
  for (let batch = 0; batch < 20; batch += 1) {
    await write(
      store,
      Array.from({ length: 256 }, (_, index) =>
        point(source(`d${index % 40}`), BigInt(batch * 256 + index), { text: textOf(batch * 256 + index) })
      )
    )
  }
  let next = 0
  for await (const chunk of store.raw(query())) {
    for (const { fields } of chunk) {
      expect(fields[0]?.value === textOf(next)).toBe(true)
      next += 1
    }
  }
  expect(next).toBe(20 * 256)
  expect(said).toEqual([])
})

test('an abort between two chunks ends the iteration', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  await write(
    store,
    Array.from({ length: 12_000 }, (_, index) => point(source('one'), BigInt(index), { n: BigInt(index) }))
  )
  const controller = new AbortController()
  const seen: unknown[] = []
  const reading = (async () => {
    for await (const chunk of store.raw(query({ signal: controller.signal }))) {
      seen.push(...chunk)
      controller.abort()
    }
  })()
  await expect(reading).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
  expect(seen.length).toBeLessThan(12_000)
})

test('turns are given in the order of asking, and giving back twice counts once', async () => {
  const turns = new Turns(1, 3)
  const first = await turns.take()
  const order: string[] = []
  const waiting = ['a', 'b', 'c'].map(async name => {
    const turn = await turns.take()
    order.push(name)
    turn.release()
    turn.release()
  })
  await expect(turns.take()).rejects.toMatchObject({ code: 'TG_QUERY_BUSY' })
  expect(turns.waiting).toBe(3)
  first.release()
  await Promise.all(waiting)
  expect(order).toEqual(['a', 'b', 'c'])
  expect([turns.running, turns.waiting]).toEqual([0, 0])
})
