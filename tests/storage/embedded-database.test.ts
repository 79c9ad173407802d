import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, truncate, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { EmbeddedCatalogue } from '../../storage/embedded-catalogue.ts'
import { EmbeddedDatabase } from '../../storage/embedded-database.ts'
import { checkpoint, log, makeFolder, openDatabase, source } from './embedded-fixture.ts'

/** A process that holds the database of a folder until it is killed. */
async function holder(folder: string): Promise<{ kill(): void } & AsyncDisposable> {
  const duckdb = pathToFileURL(createRequire(import.meta.url).resolve('@duckdb/node-api')).href
  const script = `
    import duckdb from ${JSON.stringify(duckdb)}
    await duckdb.DuckDBInstance.create(${JSON.stringify(join(folder, 'tidegate.duckdb'))})
    process.stdout.write('held')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return {
    kill: () => void child.kill('SIGKILL'),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
}

test('every bound is set before anything runs, and the settings cannot be changed', async () => {
  await using folder = await makeFolder()
  await using database = await EmbeddedDatabase.open({ folder: folder.path, memoryBytes: 100 * 1024 ** 2, threads: 2, log })
  const names = [
    'memory_limit',
    'threads',
    'enable_external_access',
    'autoinstall_known_extensions',
    'autoload_known_extensions',
    'lock_configuration'
  ]
  const rows = await database.read(`SELECT name, value FROM duckdb_settings() WHERE name IN (${names.map(name => `'${name}'`).join(', ')})`)
  expect(Object.fromEntries(rows)).toEqual({
    memory_limit: '100.0 MiB',
    threads: '2',
    enable_external_access: 'false',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    lock_configuration: 'true'
  })
  for (const sql of [
    "SET memory_limit = '10GB'",
    "COPY (SELECT 1) TO '/tmp/out.csv'",
    "SELECT * FROM read_text('/etc/hostname')",
    "ATTACH '/tmp/other.duckdb'"
  ]) {
    await expect(database.read(sql), sql).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  }
})

test('a sort that does not fit into memory is spilled inside the data folder and ends', async () => {
  await using folder = await makeFolder()
  await using database = await EmbeddedDatabase.open({ folder: folder.path, memoryBytes: 40 * 1024 ** 2, threads: 1, log })
  const rows = await database.read(
    'SELECT count(*) FROM (SELECT i, row_number() OVER (ORDER BY hash(i)) AS n FROM range(3000000) r(i)) WHERE n >= 0'
  )
  expect(rows).toEqual([[3_000_000n]])
})

test('it spills also after it was opened again, and what a crash has left behind goes', async () => {
  await using folder = await makeFolder()
  const left = join(folder.path, 'spill', 'left')
  await mkdir(left, { recursive: true })
  await writeFile(join(left, 'duckdb_temp_storage_S32K-0.tmp'), 'of a process that was killed')
  await using database = await EmbeddedDatabase.open({ folder: folder.path, memoryBytes: 40 * 1024 ** 2, threads: 1, log })
  expect(await readdir(join(folder.path, 'spill'))).not.toContain('left')
  for (let generation = 0; generation < 2; generation += 1) {
    const rows = await database.read('SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY hash(i)) FROM range(3000000) r(i))')
    expect([database.generation, rows]).toEqual([generation, [[3_000_000n]]])
    database.noteFailure(new Error('FATAL Error: pretended'))
    await database.transaction(async ({ connection }) => void (await connection.run('SELECT 1')))
  }
})

test('the lock of a process that ends soon is waited for', async () => {
  await using folder = await makeFolder()
  await using held = await holder(folder.path)
  const opening = openDatabase(folder.path)
  await expect(openDatabase(folder.path, 60)).rejects.toMatchObject({ code: 'TG_DATA_IN_USE' })
  held.kill()
  await using database = await opening
  expect(await database.read('SELECT 1')).toEqual([[1]])
})

test('a database that another process keeps is said to be in use, by whom, and can be opened later', async () => {
  await using folder = await makeFolder()
  {
    await using held = await holder(folder.path)
    await expect(openDatabase(folder.path, 60)).rejects.toMatchObject({ code: 'TG_DATA_IN_USE', message: expect.stringMatching(/PID \d+/) })
    held.kill()
  }
  await using database = await openDatabase(folder.path)
  expect(database.closed).toBe(false)
})

test('the same process cannot open a database twice, and can after closing it', async () => {
  await using folder = await makeFolder()
  const first = await openDatabase(folder.path)
  await expect(openDatabase(join(folder.path, '..', folder.path.split('/').at(-1) ?? ''), 30)).rejects.toMatchObject({
    code: 'TG_DATA_IN_USE'
  })
  await first[Symbol.asyncDispose]()
  await first[Symbol.asyncDispose]()
  await using second = await openDatabase(folder.path)
  expect(second.closed).toBe(false)
})

test('a damaged file is refused with its path and left as it is', async () => {
  await using folder = await makeFolder()
  const path = join(folder.path, 'tidegate.duckdb')
  await writeFile(path, 'not a database '.repeat(2000))
  await expect(openDatabase(folder.path)).rejects.toMatchObject({ code: 'TG_STORE_UNREADABLE', message: expect.stringContaining(path) })
  await expect(openDatabase(folder.path)).rejects.toThrow(/restore it from a backup, or move it and its \.wal away/)
  await expect(openDatabase(folder.path)).rejects.toMatchObject({ code: 'TG_STORE_UNREADABLE' })
})

test('a file that a crash left empty is replaced', async () => {
  await using folder = await makeFolder()
  const path = join(folder.path, 'tidegate.duckdb')
  await writeFile(path, '')
  await truncate(path, 0)
  await using database = await openDatabase(folder.path)
  expect(await database.read('SELECT 7')).toEqual([[7]])
})

test('a folder that cannot be made or written is named', async () => {
  await using folder = await makeFolder()
  await writeFile(join(folder.path, 'file'), 'x')
  await expect(openDatabase(join(folder.path, 'file', 'deeper'))).rejects.toMatchObject({ code: 'TG_DATA_UNWRITABLE' })
  if (process.getuid?.() === 0) return
  await chmod(folder.path, 0o500)
  await expect(openDatabase(folder.path)).rejects.toMatchObject({ code: 'TG_DATA_UNWRITABLE' })
  await chmod(folder.path, 0o700)
})

test('a file of a newer schema is refused', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  await EmbeddedCatalogue.open(database)
  await database.transaction(async ({ connection }) => void (await connection.run('UPDATE schema_version SET version = 99')))
  await expect(EmbeddedCatalogue.open(database)).rejects.toMatchObject({ code: 'TG_STORE_UNREADABLE' })
})

test('after a fatal failure the file is opened again and memory is read from it', async () => {
  await using folder = await makeFolder()
  await using database = await openDatabase(folder.path)
  const catalogue = await EmbeddedCatalogue.open(database)
  const series = [{ source: source('plug'), field: 'power', type: 'float' as const }]
  await catalogue.commit({ checkpoint: checkpoint(3), fields: [], devices: [], series })
  const attempt = database.transaction(async () => {
    throw new Error('FATAL Error: Failed: database has been invalidated because of a previous fatal error')
  })
  await expect(attempt).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  expect(database.generation).toBe(0)
  await catalogue.commit({ checkpoint: checkpoint(4), fields: [], devices: [], series: [] })
  expect(database.generation).toBe(1)
  expect(catalogue.checkpoint()).toEqual(checkpoint(4))
  expect(catalogue.seriesById(0)).toEqual({ id: 0, ...series[0] })
  expect(await database.read('SELECT position FROM checkpoint')).toEqual([[4n]])
})

test('closing waits for the transaction that runs', async () => {
  await using folder = await makeFolder()
  const database = await openDatabase(folder.path)
  let closing: Promise<void> | undefined
  await database.transaction(async ({ connection }) => {
    await connection.run('CREATE TABLE kept AS SELECT 5 AS five')
    closing = database[Symbol.asyncDispose]()
  })
  await closing
  await using again = await openDatabase(folder.path)
  expect(await again.read('SELECT five FROM kept')).toEqual([[5]])
})
