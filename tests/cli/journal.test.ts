import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, afterAll, describe, expect, it } from 'vitest'
import { runCommand } from '../../cli.ts'
import { frameBytesOf, segmentHeaderBytes } from '../../journal/frame.ts'
import type { AppendRecord } from '../../journal/record.ts'
import { appendRecords, makeFolder, openJournal, recordOf, segmentPaths } from '../journal/fixture.ts'
import { tidegate } from './harness.ts'

const records = 200
const startMs = Date.UTC(2026, 4, 4, 3, 2, 1)
let folder: Awaited<ReturnType<typeof makeFolder>>
let uuid = ''

/** A data folder with a closed journal; one record a millisecond. */
async function makeData(data: string): Promise<string> {
  let nowMs = startMs
  await mkdir(path.join(data, 'dead-letters'))
  await using letters = await openJournal(path.join(data, 'dead-letters'))
  await appendRecords(letters, 3)
  await using journal = await openJournal(path.join(data, 'journal'), { segmentBytes: 8192, clock: () => nowMs })
  for (let number = 0; number < records; number++) {
    journal.append(recordOf(number, 100 + (number % 9)))
    nowMs += 1
    if (number % 10 === 9) await journal.drain()
  }
  await journal.drain()
  return journal.uuid
}

beforeAll(async () => {
  folder = await makeFolder()
  uuid = await makeData(folder.path)
})
afterAll(async () => await folder[Symbol.asyncDispose]())

const run = async (...argv: readonly string[]) => await tidegate(['journal', ...argv, '--data', folder.path])

/** The lines of an export, payloads as bytes again. */
function linesOf(out: string): readonly Readonly<Record<string, unknown>>[] {
  return out === '' ? [] : out.split('\n').map(line => JSON.parse(line))
}

function bytesOf(line: Readonly<Record<string, unknown>>): Buffer {
  const { payload, payloadBase64 } = line
  expect(typeof payload === 'string' ? payloadBase64 : payload).toBeUndefined()
  return typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(String(payloadBase64), 'base64')
}

/** What must come out of the record that was appended as this number. */
function expectSame(line: Readonly<Record<string, unknown>>, number: number, appended: AppendRecord): void {
  const { payload: _payload, payloadBase64: _base64, ...rest } = line
  const text = (bytes: Uint8Array | undefined): string | null => (bytes === undefined ? null : Buffer.from(bytes).toString('utf8'))
  expect(rest).toEqual({
    position: `${uuid}:${number}`,
    time: `${new Date(startMs + number).toISOString().slice(0, -1)}${String(number).padStart(6, '0')}Z`,
    clientId: text(appended.clientId),
    user: text(appended.user),
    topic: text(appended.topic),
    qos: appended.qos,
    retain: appended.retain,
    dup: appended.dup,
    will: appended.will,
    packetId: appended.packetId,
    ...(appended.properties === undefined ? {} : { propertiesBase64: Buffer.from(appended.properties).toString('base64') })
  })
  expect(bytesOf(line)).toEqual(Buffer.from(appended.payload))
}

describe('journal export', () => {
  it('gives every record as it was appended, byte for byte, in order', async () => {
    const { code, out, err } = await run('export')
    expect({ code, err }).toEqual({ code: 0, err: '' })
    const lines = linesOf(out)
    expect(lines).toHaveLength(records)
    for (const [number, line] of lines.entries()) expectSame(line, number, recordOf(number, 100 + (number % 9)))
  })

  it.each([
    [
      ['--from', ':50', '--to', ':60'],
      [50, 60]
    ],
    [
      ['--from', ':195'],
      [195, 200]
    ],
    [
      ['--from', '2026-05-04T03:02:01.100Z'],
      [100, 200]
    ],
    [
      ['--from', '2026-05-04T03:02:01.100000101Z', '--to', '2026-05-04T05:02:01.103+02:00'],
      [101, 103]
    ],
    [
      ['--to', String(startMs + 7)],
      [0, 7]
    ],
    [
      ['--from', ':50', '--to', String(startMs + 53)],
      [50, 53]
    ]
  ] as const)('takes a range: %j', async (options, [from, to]) => {
    const { code, out } = await run('export', ...options.map(option => option.replace(/^:/, `${uuid}:`)))
    expect(code).toBe(0)
    expect(linesOf(out).map(line => line['position'])).toEqual(Array.from({ length: to - from }, (_, index) => `${uuid}:${from + index}`))
  })

  it('takes an MQTT topic filter', async () => {
    const { out } = await run('export', '--topic', 'devices/ü17/#')
    expect(linesOf(out).map(line => line['topic'])).toEqual(['devices/ü17/telemetry'])
  })

  it.each([
    [['--from', 'yesterday'], '--from: "yesterday" is not a time'],
    [['--from', '0a1b2c3d-1111-4222-8333-444455556666:7'], 'is not of this journal'],
    [['--topic', 'a/#/b'], '--topic: '],
    [['--format', 'xml'], 'ndjson']
  ])('refuses %j with one line', async (options, message) => {
    const { code, out, err } = await run('export', ...options)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
    expect(err.split('\n')).toHaveLength(1)
  })

  it('writes a new file whole, and never over another one', async () => {
    const file = path.join(folder.path, 'export.ndjson')
    const first = await run('export', '--output', file, '--to', `${uuid}:30`, '--json')
    expect(JSON.parse(first.out)).toEqual({ file, records: 30, damaged: 0, dropped: 0 })
    const text = await readFile(file, 'utf8')
    expect(text.trimEnd()).toBe((await run('export', '--to', `${uuid}:30`)).out)
    expect(await run('export', '--output', file)).toMatchObject({ code: 1, out: '' })
    expect(await readFile(file, 'utf8')).toBe(text)
  })

  it('waits for its reader before it reads on', async () => {
    await using large = await makeFolder()
    {
      await using journal = await openJournal(path.join(large.path, 'journal'))
      await appendRecords(journal, 60, 30_000)
    }
    let writing = 0
    let most = 0
    let chars = 0
    await runCommand(['journal', 'export', '--data', large.path], {
      environment: {},
      folder: '/',
      print: () => undefined,
      complain: text => expect.fail(text),
      exitWith: code => expect.fail(`exit code ${code}`),
      write: async text => {
        writing += 1
        most = Math.max(most, writing)
        chars = Math.max(chars, text.length)
        await new Promise(resolve => {
          setImmediate(resolve)
        })
        writing -= 1
      }
    })
    expect(most).toBe(1)
    expect(chars).toBeLessThan(300_000)
  })

  it('ends quietly when its reader has gone', async () => {
    await using large = await makeFolder()
    {
      await using journal = await openJournal(path.join(large.path, 'journal'))
      for (let group = 0; group < 15; group++) await appendRecords(journal, 20, 30_000)
    }
    const bin = fileURLToPath(new URL('../../bin/tidegate.mjs', import.meta.url))
    const child = spawn(process.execPath, [bin, 'journal', 'export', '--data', large.path], { stdio: ['ignore', 'pipe', 'pipe'] })
    let err = ''
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = await once(child, 'exit')
    expect([code, err]).toEqual([0, ''])
  })
})

describe('journal ls and verify', () => {
  it('show the journal and the dead letters, for people and as JSON', async () => {
    const listed = JSON.parse((await run('ls', '--json')).out)
    const segments = await segmentPaths(path.join(folder.path, 'journal'))
    expect(listed.journal.uuid).toBe(uuid)
    expect(listed.journal.segments.map((segment: { name: string }) => segment.name)).toEqual(segments.map(file => path.basename(file)))
    expect(listed.journal.segments[0].first).toBe(`${uuid}:0`)
    expect(listed.journal.segments.at(-1)).toMatchObject({ last: `${uuid}:${records - 1}`, sealed: null, committed: 'no', header: 'good' })
    expect(listed.deadLetters.segments).toMatchObject([{ records: 3 }])
    const text = (await run('ls')).out
    for (const file of segments) expect(text).toContain(path.basename(file))
    expect(await run('verify')).toMatchObject({ code: 0, err: '', out: expect.stringContaining(`journal: whole; ${records} records ok`) })
    expect(JSON.parse((await run('verify', '--json')).out)).toMatchObject({
      whole: true,
      journal: { whole: true, totals: { ok: records, damaged: 0, missing: 0 } },
      deadLetters: { whole: true, totals: { ok: 3 } }
    })
  })

  it('say what is damaged, change nothing, and end with 1; so does an export that meets it', async () => {
    await using damaged = await makeFolder()
    const journal = await makeData(damaged.path)
    const [first = ''] = await segmentPaths(path.join(damaged.path, 'journal'))
    const bytes = await readFile(first)
    const at = segmentHeaderBytes + frameBytesOf(recordOf(0, 100)) + 30
    bytes[at] = (bytes[at] ?? 0) ^ 0x10
    await writeFile(first, bytes)
    const stateOf = async () =>
      await Promise.all(
        (await readdir(damaged.path, { recursive: true })).map(async name => [
          name,
          (await stat(path.join(damaged.path, name), { bigint: true })).mtimeNs
        ])
      )
    const before = await stateOf()
    const verified = await tidegate(['journal', 'verify', '--data', damaged.path])
    expect(verified.code).toBe(1)
    expect(verified.out).toContain(`damaged: ${journal}:1\n`)
    expect(verified.out).toContain(`journal: NOT whole; ${records - 1} records ok, 1 damaged`)
    const exported = await tidegate(['journal', 'export', '--data', damaged.path])
    expect(exported.code).toBe(1)
    expect(exported.err).toBe(`tidegate: damaged: ${journal}:1`)
    expect(linesOf(exported.out)).toHaveLength(records - 1)
    expect(await stateOf()).toEqual(before)
  })

  it.each(['ls', 'verify', 'export'])('%s of a folder without a journal is a fault', async command => {
    const { code, err } = await tidegate(['journal', command, '--data', '/nonexistent'])
    expect([code, err]).toEqual([1, 'tidegate: there is no journal in /nonexistent; name the data folder with --data (setting: data)'])
  })
})
