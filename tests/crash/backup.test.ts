import { once } from 'node:events'
import { existsSync, watch } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { tidegate as command } from '../cli/harness.ts'
import { Recorder, readLedger } from '../harness/recorder.ts'
import { publishSteadily } from '../harness/settled.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

async function makeFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-backup-'))
  return {
    path: folder,
    [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
}

/** What had been acknowledged when this was called. */
function acknowledgedBy(recorder: Recorder): ReadonlySet<string> {
  return new Set(recorder.sent.filter(({ acknowledged }) => acknowledged).map(({ device, seq }) => `${device} ${seq}`))
}

async function backUp(tidegate: Tidegate, folder: string): Promise<Readonly<Record<string, unknown>>> {
  await eventually('the store is open', async () => await readLedger(tidegate.httpUrl), 30_000)
  const { code, out, err } = await command(['backup', folder, '--data', tidegate.folder, '--http', tidegate.httpUrl, '--json'])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  return JSON.parse(out)
}

async function restore(backup: string, data: string): Promise<void> {
  const { code, err } = await command(['restore', backup, '--data', data])
  expect({ code, err }).toEqual({ code: 0, err: '' })
}

/** Everything that was acknowledged is in the restored one, row by row; nothing is there twice or wrong; the ledger balances. */
async function expectRestored(restored: Tidegate, recorder: Recorder, acknowledged: ReadonlySet<string>): Promise<void> {
  await eventually(
    'the restored journal is worked off',
    async () => ((await readLedger(restored.httpUrl)).inJournal === 0 ? true : undefined),
    60_000
  )
  const { missing, ...others } = await recorder.compare(restored.httpUrl)
  expect(missing.filter(reading => acknowledged.has(reading))).toEqual([])
  expect(others).toEqual({ duplicated: [], wrong: [], unknown: [] })
  const { stored, accepted, balanced, dropped, damaged } = await readLedger(restored.httpUrl)
  expect({ balanced, dropped, damaged, stored }).toEqual({ balanced: true, dropped: 0, damaged: 0, stored: accepted })
}

describe('a backup of a running Tidegate', { timeout: 180_000 }, () => {
  it('made under load, of which the original is killed, has everything acknowledged before it was asked for', async () => {
    await using folder = await makeFolder()
    const original = await Tidegate.start({
      folder: path.join(folder.path, 'data'),
      set: { 'journal.segmentBytes': '1MiB', 'journal.keep.time': '0ms', 'journal.keep.bytes': '0B' }
    })
    await using recorder = new Recorder('backed-up')
    await recorder.connect(original.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    const made: { readonly backup: string; readonly head: string; readonly acknowledged: ReadonlySet<string> }[] = []
    try {
      for (let number = 1; number <= 3; number++) {
        const goal = recorder.acknowledged + 2_000
        await eventually('publishes are acknowledged', () => (recorder.acknowledged >= goal ? true : undefined), 60_000)
        const acknowledged = acknowledgedBy(recorder)
        const backup = path.join(folder.path, `backup-${number}`)
        const report = await backUp(original, backup)
        expect(report).toMatchObject({ folder: backup, store: 'embedded' })
        expect((await readdir(backup)).includes('backup.key')).toBe(false)
        made.push({ backup, head: String(report['head']), acknowledged })
      }
    } finally {
      publishing.stop()
      await original.kill()
    }
    for (const { backup, head, acknowledged } of made) {
      const data = `${backup}-restored`
      await restore(backup, data)
      await using restored = await Tidegate.start({ folder: data })
      expect(acknowledged.size).toBeGreaterThan(1_000)
      await expectRestored(restored, recorder, acknowledged)
      // It goes on: positions of the original are those of another journal, and its own are new.
      const published = await fetch(`${restored.httpUrl}/api/v1/telemetry?topic=devices/new/telemetry`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"temperature":1}'
      })
      const { position } = JSON.parse(await published.text())
      expect(published.status).toBe(202)
      const seen = await fetch(`${restored.httpUrl}/api/v1/query?device=new&after=${position}`)
      expect(JSON.parse(await seen.text())).toMatchObject({ items: [{ fields: { temperature: 1 } }] })
      expect(String(position).split(':')[1]).toBe(head.split(':')[1])
      const foreign = await fetch(`${restored.httpUrl}/api/v1/query?device=new&after=${head}`)
      expect(JSON.parse(await foreign.text())).toMatchObject({ code: 'TG_POSITION_FOREIGN', status: 400 })
    }
    const positions = await Promise.all(
      made.map(async ({ backup }) => JSON.parse((await command(['journal', 'ls', '--json', '--data', `${backup}-restored`])).out))
    )
    expect(new Set(positions.map(({ journal }) => journal.timeline)).size).toBe(3)
    expect(new Set(positions.map(({ journal }) => journal.uuid)).size).toBe(1)
  })

  it('has what is in the journal alone while the store is away', async () => {
    await using folder = await makeFolder()
    const influx = { 'store.kind': 'influx', 'store.influx.url': 'http://127.0.0.1:9', 'store.influx.token': 'x' }
    const original = await Tidegate.start({ folder: path.join(folder.path, 'data'), set: influx })
    await using recorder = new Recorder('away')
    await recorder.connect(original.mqttUrl, 10)
    for (let wave = 0; wave < 100; wave++) recorder.publishAll()
    await eventually('all is acknowledged', () => (recorder.acknowledged === 1_000 ? true : undefined), 60_000)
    const acknowledged = acknowledgedBy(recorder)
    const report = await backUp(original, path.join(folder.path, 'backup'))
    expect(report).toMatchObject({ store: 'influx' })
    await original.kill()
    await restore(path.join(folder.path, 'backup'), path.join(folder.path, 'restored'))
    await using restored = await Tidegate.start({ folder: path.join(folder.path, 'restored') })
    await expectRestored(restored, recorder, acknowledged)
  })

  it('that its service does not live to finish leaves no pin, and nothing that can be restored', async () => {
    await using folder = await makeFolder()
    await using tidegate = await Tidegate.start({ folder: path.join(folder.path, 'data') })
    await using recorder = new Recorder('killed')
    await recorder.connect(tidegate.mqttUrl, 10)
    for (let wave = 0; wave < 400; wave++) recorder.publishAll()
    await eventually('all is acknowledged', () => (recorder.acknowledged === 4_000 ? true : undefined), 60_000)
    let unfinished = 0
    for (let attempt = 1; attempt <= 20 && unfinished < 2; attempt++) {
      const backup = path.join(folder.path, `backup-${attempt}`)
      await eventually('the service answers', async () => (await readLedger(tidegate.httpUrl)) && true, 30_000)
      const service = tidegate.servicePid() ?? expect.fail('no service')
      await mkdir(backup)
      await writeFile(path.join(backup, 'backup.key'), 'a key of this test')
      // Its first file there is the database.
      const watcher = watch(backup)
      const begun = once(watcher, 'change')
      const asked = ask(tidegate, backup, 'a key of this test').catch(() => undefined)
      await Promise.race([begun, asked])
      process.kill(service, 'SIGKILL')
      watcher.close()
      await asked
      await eventually('another service runs', () => ((tidegate.servicePid() ?? service) === service ? undefined : true), 30_000)
      if (existsSync(path.join(backup, 'manifest.json'))) continue
      unfinished += 1
      const refused = await command(['restore', backup, '--data', path.join(folder.path, 'restored')])
      expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('it has no manifest.json')])
    }
    expect(unfinished, 'a backup was cut short').toBeGreaterThan(0)
    await eventually('nothing is pinned', async () => {
      const text = await (await fetch(`${tidegate.httpUrl}/metrics`)).text()
      return /^tidegate_journal_pins 0$/m.test(text) ? true : undefined
    })
    const acknowledged = acknowledgedBy(recorder)
    await backUp(tidegate, path.join(folder.path, 'whole'))
    await restore(path.join(folder.path, 'whole'), path.join(folder.path, 'restored'))
    await using restored = await Tidegate.start({ folder: path.join(folder.path, 'restored') })
    await expectRestored(restored, recorder, acknowledged)
  })
})

async function ask(
  tidegate: Tidegate,
  folder: string,
  key: string
): Promise<{ readonly status: number; readonly body: { code?: string } }> {
  const response = await fetch(`${tidegate.httpUrl}/api/v1/backup`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ folder, key })
  })
  return { status: response.status, body: JSON.parse(await response.text()) }
}

describe('where a backup may be written', () => {
  it('is a folder that the asker has shown to be theirs, empty, and apart from the data', async () => {
    await using folder = await makeFolder()
    await using tidegate = await Tidegate.start({ folder: path.join(folder.path, 'data') })
    await eventually('the store is open', async () => await readLedger(tidegate.httpUrl), 30_000)
    const key = 'a key of this test'
    const refused = async (target: string): Promise<string> => {
      const { status, body } = await ask(tidegate, target, key)
      expect([status, body.code]).toEqual([403, 'TG_BACKUP_REFUSED'])
      return JSON.stringify(body)
    }
    const make = async (name: string, content = key): Promise<string> => {
      const made = path.join(folder.path, name)
      await mkdir(made, { recursive: true })
      await writeFile(path.join(made, 'backup.key'), content)
      return made
    }
    // Without the key every folder gets the same answer, whether it is there or not.
    const missing = await refused(path.join(folder.path, 'nothing'))
    await mkdir(path.join(folder.path, 'empty'))
    expect(await refused(path.join(folder.path, 'empty'))).toBe(missing)
    expect(await refused(tidegate.folder)).toBe(missing)
    expect(await refused('/etc')).toBe(missing)
    expect(await refused(await make('other', 'another key of it'))).toBe(missing)

    const full = await make('full')
    await writeFile(path.join(full, 'photo.jpg'), '')
    expect(await refused(full)).toContain('empty')
    expect(await refused(await make('data/inner'))).toContain('lie in one another')
    await symlink(path.join(folder.path, 'data/inner'), path.join(folder.path, 'linked'))
    expect(await refused(path.join(folder.path, 'linked'))).toContain('lie in one another')
    const good = await make('good')
    expect((await ask(tidegate, good, key)).status).toBe(200)
    expect(await readdir(good)).toContain('manifest.json')
  })

  it('is told in one line by the command, which leaves nothing behind', async () => {
    await using folder = await makeFolder()
    await using tidegate = await Tidegate.start({ folder: path.join(folder.path, 'data') })
    const run = async (target: string, http = tidegate.httpUrl) =>
      await command(['backup', target, '--data', tidegate.folder, '--http', http])
    await mkdir(path.join(folder.path, 'full'))
    await writeFile(path.join(folder.path, 'full/photo.jpg'), '')
    for (const [target, http, message] of [
      ['full', undefined, 'not an empty folder'],
      ['data/inner', undefined, 'lie in one another'],
      ['no/where', undefined, 'is not there'],
      ['b', 'http://127.0.0.1:9', '--http: no Tidegate answers at http://127.0.0.1:9']
    ] as const) {
      const { code, err } = await run(path.join(folder.path, target), http)
      expect([code, err]).toEqual([1, expect.stringContaining(message)])
      expect(err.split('\n')).toHaveLength(1)
    }
    expect((await readdir(folder.path)).toSorted()).toEqual(['data', 'full'])
    const elsewhere = await command(['backup', path.join(folder.path, 'b'), '--data', path.join(folder.path, 'full')])
    expect([elsewhere.code, elsewhere.err]).toEqual([1, expect.stringContaining('there is no journal in')])
  })
})

it('a Tidegate that is stopped is copied by the command itself, with all of its journal', async () => {
  await using folder = await makeFolder()
  const data = path.join(folder.path, 'data')
  const original = await Tidegate.start({ folder: data })
  await using recorder = new Recorder('stopped')
  await recorder.connect(original.mqttUrl, 10)
  for (let wave = 0; wave < 50; wave++) recorder.publishAll()
  await eventually('all is acknowledged', () => (recorder.acknowledged === 500 ? true : undefined))
  await original.kill()
  const acknowledged = acknowledgedBy(recorder)
  expect(await command(['backup', path.join(folder.path, 'backup'), '--data', data])).toMatchObject({ code: 0 })
  await restore(path.join(folder.path, 'backup'), path.join(folder.path, 'restored'))
  await using restored = await Tidegate.start({ folder: path.join(folder.path, 'restored') })
  await expectRestored(restored, recorder, acknowledged)
})
