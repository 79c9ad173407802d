import { appendFile, cp, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nodeFiles } from '../../journal/files.ts'
import { frameBytesOf, segmentHeaderBytes } from '../../journal/frame.ts'
import { listJournal, verifyJournal, type JournalVerification } from '../../journal/inspection.ts'
import { scan } from '../../journal/scan.ts'
import { appendRecords, makeFolder, openJournal, readAll, recordOf, segmentPaths, silent, until } from './fixture.ts'

/** Every file below a folder with its bytes and the time of its last change. */
async function snapshotOf(folder: string): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name)
    const { mtimeNs } = await stat(file, { bigint: true })
    found.set(file, `${mtimeNs} ${entry.isFile() ? (await readFile(file)).toString('hex') : 'folder'}`)
  }
  return found
}

async function verify(folder: string): Promise<JournalVerification> {
  const before = await snapshotOf(folder)
  const verification = await verifyJournal(nodeFiles, folder)
  expect(await snapshotOf(folder), 'nothing was changed').toEqual(before)
  return verification
}

function sum(verification: JournalVerification) {
  const total = { ok: 0, damaged: 0, damagedBytes: 0, missing: verification.missingBefore, dropped: 0, torn: 0 }
  for (const segment of verification.segments) {
    total.ok += segment.records
    total.damaged += segment.damagedRecords
    total.damagedBytes += segment.damagedBytes
    total.missing += segment.missingRecords
    total.dropped += segment.droppedRecords
    total.torn += segment.tornBytes
  }
  return total
}

const sound = { ok: 0, damaged: 0, damagedBytes: 0, missing: 0, dropped: 0, torn: 0 }
const records = 120

/** A closed journal of many segments; where each record's frame is. */
async function makeJournal(folder: string): Promise<{ readonly frames: readonly { file: string; at: number; bytes: number }[] }> {
  {
    await using journal = await openJournal(folder, { segmentBytes: 4096 })
    for (let group = 0; group < records / 4; group++) await appendRecords(journal, 4, 150 + (group % 7) * 40)
  }
  const firsts = (await segmentPaths(folder)).map(file => ({ file, first: Number(/-(\d+)\.seg$/.exec(file)?.[1]) }))
  const frames: { file: string; at: number; bytes: number }[] = []
  for (const [index, { file, first }] of firsts.entries()) {
    let at = segmentHeaderBytes
    for (let ordinal = first; ordinal < (firsts[index + 1]?.first ?? records); ordinal++) {
      const bytes = frameBytesOf(recordOf(ordinal, 150 + (Math.floor(ordinal / 4) % 7) * 40))
      frames.push({ file, at, bytes })
      at += bytes
    }
    expect(at, 'the model knows every byte').toBe((await stat(file)).size)
  }
  return { frames }
}

describe('verify', () => {
  test('a journal that nothing happened to is whole', async () => {
    await using folder = await makeFolder()
    await makeJournal(folder.path)
    const verification = await verify(folder.path)
    expect(verification.segments.length).toBeGreaterThan(5)
    expect(sum(verification)).toEqual({ ...sound, ok: records })
    expect([verification.whole, verification.runs]).toEqual([true, []])
  })

  test('flipped bits: exactly the records whose own bytes were hit are damaged, with their bytes', async () => {
    await using origin = await makeFolder()
    const { frames } = await makeJournal(origin.path)
    // The last record has its own tests: a length that was hit there can look like a torn one.
    const hits = fc.array(fc.record({ ordinal: fc.nat(records - 2), share: fc.nat(9_999), bit: fc.nat(7) }), { minLength: 1, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(hits, async flips => {
        await using folder = await makeFolder()
        await cp(origin.path, folder.path, { recursive: true })
        const offsets = new Set<string>()
        const hit = new Set<number>()
        for (const { ordinal, share, bit } of flips) {
          const frame = frames[ordinal] ?? expect.fail()
          const offset = frame.at + Math.floor((share * frame.bytes) / 10_000)
          const file = path.join(folder.path, path.basename(frame.file))
          if (offsets.has(`${file} ${offset}`)) continue
          offsets.add(`${file} ${offset}`)
          const bytes = await readFile(file)
          bytes[offset] = (bytes[offset] ?? 0) ^ (1 << bit)
          await writeFile(file, bytes)
          hit.add(ordinal)
        }
        const verification = await verify(folder.path)
        const damagedBytes = [...hit].reduce((total, ordinal) => total + (frames[ordinal]?.bytes ?? 0), 0)
        expect(sum(verification)).toEqual({ ...sound, ok: records - hit.size, damaged: hit.size, damagedBytes })
        const named = verification.runs.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, index) => from + index))
        expect(named).toEqual([...hit].toSorted((a, b) => a - b))
        expect(verification.whole).toBe(false)
      }),
      { numRuns: 60 }
    )
  })

  test('a missing segment, in the middle or before the first, is missing records', async () => {
    await using folder = await makeFolder()
    const { frames } = await makeJournal(folder.path)
    const [first = '', , third = ''] = await segmentPaths(folder.path)
    const lost = (file: string): number => frames.filter(frame => frame.file === file).length
    await rm(third)
    expect(sum(await verify(folder.path))).toEqual({ ...sound, ok: records - lost(third), missing: lost(third) })
    await rm(first)
    const verification = await verify(folder.path)
    expect(sum(verification)).toEqual({ ...sound, ok: records - lost(third) - lost(first), missing: lost(third) + lost(first) })
    expect(verification.runs[0]).toEqual({ from: 0, to: lost(first), kind: 'missing' })
  })

  test('a header that was hit costs no record, and is damage', async () => {
    await using folder = await makeFolder()
    await makeJournal(folder.path)
    const file = (await segmentPaths(folder.path))[2] ?? ''
    const bytes = await readFile(file)
    bytes[20] = (bytes[20] ?? 0) ^ 4
    await writeFile(file, bytes)
    const verification = await verify(folder.path)
    expect(sum(verification)).toEqual({ ...sound, ok: records, damagedBytes: segmentHeaderBytes })
    expect([verification.segments[2]?.header, verification.whole]).toEqual(['unreadable', false])
  })

  test('a torn tail is none of a damage, wherever it is cut', async () => {
    await using origin = await makeFolder()
    const { frames } = await makeJournal(origin.path)
    const last = frames.at(-1) ?? expect.fail()
    for (const kept of [1, 19, 20, 21, 60, last.bytes - 1]) {
      await using folder = await makeFolder()
      await cp(origin.path, folder.path, { recursive: true })
      await truncate(path.join(folder.path, path.basename(last.file)), last.at + kept)
      const verification = await verify(folder.path)
      expect(sum(verification), `${kept} bytes kept`).toEqual({ ...sound, ok: records - 1, torn: kept })
      expect(verification.whole).toBe(true)
    }
    await using folder = await makeFolder()
    await cp(origin.path, folder.path, { recursive: true })
    await appendFile(path.join(folder.path, path.basename(last.file)), Buffer.alloc(3000))
    expect(sum(await verify(folder.path))).toEqual({ ...sound, ok: records, torn: 3000 })
  })

  test('a damaged record at the end is damage, as it is to the next start', async () => {
    await using folder = await makeFolder()
    const { frames } = await makeJournal(folder.path)
    const last = frames.at(-1) ?? expect.fail()
    const bytes = await readFile(last.file)
    bytes[last.at + last.bytes - 1] = (bytes[last.at + last.bytes - 1] ?? 0) ^ 1
    await writeFile(last.file, bytes)
    const verification = await verify(folder.path)
    expect(sum(verification)).toEqual({ ...sound, ok: records - 1, damaged: 1, damagedBytes: last.bytes })
    await using journal = await openJournal(folder.path)
    expect(journal.head).toBe(records)
    expect(verification.segments.at(-1)?.end).toBe(records)
  })

  test('a segment of another journal is none of this one', async () => {
    await using folder = await makeFolder()
    await using other = await makeFolder()
    await makeJournal(folder.path)
    await makeJournal(other.path)
    const [, own = ''] = await segmentPaths(folder.path)
    const verification = await verify(folder.path)
    const lost = verification.segments[1]?.records ?? 0
    await cp((await segmentPaths(other.path))[1] ?? '', own)
    const after = await verify(folder.path)
    expect(sum(after)).toEqual({ ...sound, ok: records - lost, missing: lost, damagedBytes: (await stat(own)).size })
    expect(after.segments[1]?.header).toBe('foreign')
  })

  test('what drop-oldest dropped behind kept records is dropped, not missing', async () => {
    await using folder = await makeFolder()
    {
      await using journal = await openJournal(folder.path, { maxBytes: 80_000, whenFull: 'drop-oldest' })
      await appendRecords(journal, 20, 2000)
      journal.commit(20)
      for (let group = 0; group < 100; group++) {
        await until(() => journal.state === 'accepting', 'the journal accepts')
        await appendRecords(journal, 1, 2000)
      }
      await until(() => journal.stats.uncommittedBytes <= 80_000, 'dropping')
    }
    const verification = await verify(folder.path)
    const { ok, dropped, ...rest } = sum(verification)
    expect(dropped).toBeGreaterThan(10)
    expect([ok + dropped, rest.missing, rest.damaged, verification.whole]).toEqual([120, 0, 0, true])
    expect(verification.runs).toEqual([{ from: expect.any(Number), to: verification.droppedBelow, kind: 'dropped' }])
  })

  test('a journal that is written, turned and tidied meanwhile is whole at every look', async () => {
    await using folder = await makeFolder()
    let nowMs = 0
    await using journal = await openJournal(folder.path, {
      segmentBytes: 8192,
      keep: { timeMs: 0, bytes: 0 },
      clock: () => Date.now(),
      monotonic: () => (nowMs += 10_000)
    })
    const stop = new AbortController()
    const written = (async () => {
      while (!stop.signal.aborted) {
        await appendRecords(journal, 20, 300)
        journal.commit(journal.head)
      }
    })()
    try {
      await until(() => journal.oldest > 100, 'segments are removed')
      for (let look = 0; look < 40; look++) {
        const verification = await verifyJournal(nodeFiles, folder.path)
        expect([verification.whole, verification.runs, verification.missingBefore], `look ${look}`).toEqual([true, [], 0])
      }
    } finally {
      stop.abort()
      await written
    }
  })

  test('a folder that is not there, or holds other files, has no records', async () => {
    await using folder = await makeFolder()
    await mkdir(path.join(folder.path, 'quarantine'))
    await writeFile(path.join(folder.path, 'notes.txt'), 'TGJOURNL')
    for (const place of [folder.path, path.join(folder.path, 'nothing')]) {
      const verification = await verifyJournal(nodeFiles, place)
      expect([verification.segments, verification.uuid, verification.whole]).toEqual([[], undefined, true])
    }
  })
})

describe('ls', () => {
  test('names the records of each segment, when it was made and sealed, and whether it is committed', async () => {
    await using folder = await makeFolder()
    await makeJournal(folder.path)
    {
      await using journal = await openJournal(folder.path)
      journal.commit(50)
    }
    const before = await snapshotOf(folder.path)
    const { segments, uuid, committedBelow } = await listJournal(nodeFiles, folder.path)
    expect(await snapshotOf(folder.path)).toEqual(before)
    expect([uuid?.length, committedBelow]).toEqual([36, 50])
    expect(segments[0]?.first).toBe(0)
    expect(segments.at(-1)?.end).toBe(records)
    expect(segments.slice(1).map(({ first }) => first)).toEqual(segments.slice(0, -1).map(({ end }) => end))
    for (const { first, end, committed, createdMs, sealedMs, bytes, name } of segments) {
      expect(committed).toBe(end <= 50 ? 'yes' : first < 50 ? 'partly' : 'no')
      const file = await stat(path.join(folder.path, name))
      expect(bytes).toBe(file.size)
      expect(sealedMs ?? Math.trunc(file.mtimeMs)).toBe(Math.trunc(file.mtimeMs))
      expect(createdMs).toBe(Number((await readFile(path.join(folder.path, name))).readBigUInt64LE(36)))
    }
    expect(segments.map(({ sealedMs }) => sealedMs === undefined)).toEqual(segments.map((_, index) => index === segments.length - 1))
  })
})

test('a scan without quarantine reads what one with it reads, and leaves the folder as it is', async () => {
  await using folder = await makeFolder()
  const { frames } = await makeJournal(folder.path)
  const { file, at } = frames[60] ?? expect.fail()
  const bytes = await readFile(file)
  bytes[at + 40] = (bytes[at + 40] ?? 0) ^ 1
  await writeFile(file, bytes)
  const before = await snapshotOf(folder.path)
  const ordinals: number[] = []
  for await (const batch of scan({ folder: folder.path, quarantine: false, log: silent })) {
    ordinals.push(...batch.records.map(({ ordinal }) => ordinal))
  }
  expect(await snapshotOf(folder.path)).toEqual(before)
  const { records: read } = await readAll(folder.path, 0, records)
  expect(ordinals).toEqual(read.map(({ ordinal }) => ordinal))
  expect(ordinals).toHaveLength(records - 1)
})
