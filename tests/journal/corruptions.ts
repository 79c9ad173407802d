/** Real journals in memory, what is in them byte by byte, and everything that can happen to their files. */
import { crc32 } from 'node:zlib'
import { maskBytes } from '../../journal/frame-mask.ts'
import { encodeFrame, frameBytesOf, markerBytes, newerVersion, segmentName } from '../../journal/frame.ts'
import { Journal } from '../../journal/journal.ts'
import { saveMarks } from '../../journal/marks.ts'
import type { AppendRecord } from '../../journal/record.ts'
import { systemError } from './faulty-files.ts'
import { recordOf, silent } from './fixture.ts'
import { MemoryFiles } from './memory-files.ts'

export const folder = '/data/journal'
const headerBytes = 64
const segmentNames = /^\d{10}-\d{15}\.seg$/

/** Whole numbers from a seed, the same in every run. */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1
  }

  /** 0 … below − 1 */
  under(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below)
  }

  of<Item>(items: readonly Item[]): Item {
    const item = items[this.under(items.length)]
    if (item === undefined) throw new Error('nothing to choose from')
    return item
  }
}

/** A journal as its writer left it. */
export interface Sample {
  readonly files: MemoryFiles
  readonly records: readonly AppendRecord[]
  /** Frames of each segment file by name, as bytes; without those that a failed sync made void. */
  readonly frames: ReadonlyMap<string, readonly { readonly ordinal: number; readonly offset: number; readonly bytes: Buffer }[]>
  readonly committedBelow: number
}

export function open(files: MemoryFiles, segmentBytes = 2000): Promise<Journal> {
  return Journal.open({
    folder,
    files: files.port,
    sync: 'fsync',
    syncDelayMs: 0,
    segmentBytes,
    maxBytes: 1024 * 1024 * 1024,
    reserveBytes: 0,
    whenFull: 'reject-new',
    keep: { timeMs: 86_400_000, bytes: 1024 * 1024 * 1024 },
    log: silent,
    clock: () => 1_790_000_000_000
  })
}

/** Writes a journal: groups, segments, reopenings, failed syncs, and payloads that are frames of this very journal. */
export async function makeSample(seed: number): Promise<Sample> {
  const dice = new Dice(seed)
  const files = new MemoryFiles()
  const records: AppendRecord[] = []
  const segmentBytes = dice.of([700, 1500, 4000, 20_000])
  const longest = dice.of([40, 300, 900])
  // Its own, so that a seed makes the same bytes each time; only what is masked differs.
  await files.port.makeFolder(folder)
  await saveMarks(files.port, folder, { uuid: uuidOf(seed), marker: dice.under(0xffff_ffff) + 1, droppedBelow: 0, committedBelow: 0 })
  for (let opening = 0; opening <= dice.under(3); opening++) {
    await using journal = await open(files, segmentBytes)
    const marker = markerOf(files)
    for (let group = 0; group < 6; group++) {
      for (let count = 1 + dice.under(6); count > 0; count--) {
        const number = records.length
        const payload = dice.under(6) === 0 ? forgeries(marker, number, dice) : undefined
        const record = recordOf(number, 12 + dice.under(longest))
        records.push(payload === undefined ? record : { ...record, payload })
        journal.append(records.at(-1) ?? record)
      }
      let failures = dice.under(5) === 0 ? 1 : 0
      files.onSync = () => {
        if (failures-- > 0) throw systemError('EIO')
      }
      await journal.drain()
    }
    if (seed % 4 === 3) journal.commit(Math.floor(records.length / 2))
  }
  const names = files.names(folder).filter(name => name.endsWith('.seg'))
  return {
    files,
    records,
    frames: new Map(
      names.map((name, index) => {
        const end = Number(names[index + 1]?.slice(11, 26) ?? Infinity)
        return [name, framesOf(files.get(`${folder}/${name}`) ?? Buffer.alloc(0)).filter(({ ordinal }) => ordinal < end)]
      })
    ),
    committedBelow: seed % 4 === 3 ? Math.floor(records.length / 2) : 0
  }
}

function uuidOf(seed: number): string {
  return `00000000-0000-4000-8000-${String(seed).padStart(12, '0')}`
}

/** The marker of a journal, as somebody learns it who has seen a segment. */
function markerOf(files: MemoryFiles): Buffer {
  const marks: { marker?: number } = JSON.parse((files.get(`${folder}/marks`) ?? Buffer.from('{} ')).toString().slice(0, -10))
  return markerBytes(marks.marker ?? 0)
}

/** A payload of frames that claim ordinals from this record's on. */
function forgeries(marker: Buffer, ordinal: number, dice: Dice): Buffer {
  const frames = Array.from({ length: 1 + dice.under(4) }, (_, index) => {
    const record = { ...recordOf(7_000_000 + ordinal * 10 + index, 5), clientId: Buffer.from('somebody-else') }
    const bytes = Buffer.alloc(frameBytesOf(record) + maskBytes)
    return bytes.subarray(0, encodeFrame(bytes, 0, marker, ordinal + dice.under(3) * (1 + index), 1, 2, record))
  })
  return Buffer.concat(frames)
}

function framesOf(bytes: Buffer): { ordinal: number; offset: number; bytes: Buffer }[] {
  const frames = []
  for (let at = headerBytes; at < bytes.length;) {
    const end = at + 20 + bytes.readUInt32LE(at + 8)
    frames.push({ ordinal: bytes.readUIntLE(at + 12, 6), offset: at, bytes: Buffer.from(bytes.subarray(at, end)) })
    at = end
  }
  return frames
}

/** A journal that is being damaged, and which of its files are still which. */
export class Patient {
  readonly files: MemoryFiles
  readonly sample: Sample
  /** What each segment of the sample is called now; one that is gone, or that says it is another's, is not in it. */
  readonly names: Map<string, string>
  /** Segments that say they are of a later format: they have to be there afterwards, as they are. */
  readonly newer: Buffer[] = []
  readonly did: string[] = []
  readonly #dice: Dice
  readonly #other: Sample
  readonly #foreign = new Set<string>()
  /** Copies of segments, by name, and what they are copies of. */
  readonly #copies = new Map<string, string>()
  #marksHit = false
  #marksForeign = false
  #fresh = 0

  constructor(sample: Sample, other: Sample, dice: Dice) {
    this.sample = sample
    this.files = sample.files.copy()
    this.names = new Map([...sample.frames.keys()].map(name => [name, name]))
    this.#dice = dice
    this.#other = other
  }

  /** Ends the damaging. Takes foreign segments away again where nothing is left that tells which journal is the guest. */
  settle(): void {
    this.#dismissGuests()
    for (const name of this.files.names(folder)) {
      const bytes = this.#bytes(name)
      if (segmentNames.test(name) && newerVersion(bytes) !== undefined) this.newer.push(Buffer.from(bytes))
    }
  }

  #dismissGuests(): void {
    const witnesses = [...this.names].filter(([origin, name]) => this.#speaksForItself(origin, name)).length
    const marks = this.sample.files.get(`${folder}/marks`)
    if (witnesses === 0 && this.#marksForeign && marks !== undefined) this.files.put(`${folder}/marks`, Buffer.from(marks))
    if (witnesses > 0 && !this.#marksForeign && (!this.#marksHit || this.#foreign.size < witnesses)) return
    for (const name of this.#foreign) this.files.delete(`${folder}/${name}`)
  }

  /** Ordinals whose record is whole, somewhere in the file that it was written to, and in every copy of that file. */
  survivors(): Set<number> {
    const survivors = new Set<number>()
    for (const [origin, name] of this.names) {
      const bytes = this.#bytes(name)
      // Where both header and name are lost, its frames tell where it belongs, unless others of the same ordinals do too.
      if (!this.#hasHeader(origin, bytes) && name !== origin) continue
      const copies = [...this.#copies].filter(([, of]) => of === origin).map(([copy]) => this.#bytes(copy))
      for (const frame of this.sample.frames.get(origin) ?? [])
        if ([bytes, ...copies].every(each => each.includes(frame.bytes, headerBytes))) survivors.add(frame.ordinal)
    }
    return survivors
  }

  /** One thing that happens to the folder. */
  damage(): void {
    const segments = this.files.names(folder).filter(name => name.endsWith('.seg'))
    const kinds = Object.keys(this.#kinds).filter(kind => segments.length > 0 || kind === 'marks')
    const kind = this.#dice.of(kinds)
    const name = segments.length === 0 ? '' : this.#dice.of(segments)
    this.did.push(`${kind} ${name}`)
    this.#kinds[kind]?.(name)
  }

  readonly #kinds: Record<string, (name: string) => void> = {
    flip: name => {
      const bytes = this.#bytes(name)
      if (bytes.length > 0) this.#flip(bytes, this.#dice.under(bytes.length))
    },
    flipHeader: name => {
      const bytes = this.#bytes(name)
      if (bytes.length > 0) this.#flip(bytes, this.#dice.under(Math.min(headerBytes, bytes.length)))
    },
    flipFrameHeader: name => {
      const bytes = this.#bytes(name)
      const at = this.#place(name) + this.#dice.under(20)
      if (at < bytes.length) this.#flip(bytes, at)
    },
    overwrite: name => {
      const bytes = this.#bytes(name)
      const from = this.#place(name)
      this.#junk(Math.min(this.#length(), bytes.length - from)).copy(bytes, from)
    },
    truncate: name => this.#put(name, this.#bytes(name).subarray(0, this.#place(name))),
    empty: name => this.#put(name, Buffer.alloc(0)),
    append: name => this.#put(name, Buffer.concat([this.#bytes(name), this.#junk(this.#length())])),
    appendBlock: name => this.#put(name, Buffer.concat([this.#bytes(name), this.#block(this.#any())])),
    copyOver: name => {
      const bytes = this.#bytes(name)
      this.#block(this.#any()).copy(bytes, this.#place(name))
    },
    insertBlock: name => {
      const bytes = this.#bytes(name)
      const at = this.#place(name)
      this.#put(name, Buffer.concat([bytes.subarray(0, at), this.#block(this.#any()), bytes.subarray(at)]))
    },
    removeBlock: name => {
      const bytes = this.#bytes(name)
      const at = this.#place(name)
      this.#put(name, Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + this.#length())]))
    },
    swapBlocks: name => {
      const bytes = this.#bytes(name)
      const [a = 0, b = 0] = [this.#place(name), this.#place(name)].toSorted((x, y) => x - y)
      const length = Math.min(this.#length(), b - a, bytes.length - b)
      const first = Buffer.from(bytes.subarray(a, a + length))
      bytes.copy(bytes, a, b, b + length)
      first.copy(bytes, b)
    },
    delete: name => this.#delete(name),
    rename: name => this.#rename(name, segmentName(this.#dice.under(30), this.#dice.under(60))),
    renameAway: name => this.#rename(name, `copy-of-${this.#fresh++}.seg`),
    swap: name => {
      const other = this.#any()
      if (other === name) return
      this.#rename(name, 'x.seg')
      this.#rename(other, name)
      this.#rename('x.seg', other)
    },
    duplicate: name => {
      const to = segmentName(this.#dice.under(30), this.#dice.under(60))
      if (this.files.get(`${folder}/${to}`) !== undefined) return
      const origin = this.#copies.get(name) ?? [...this.names].find(([, now]) => now === name)?.[0]
      if (origin !== undefined) this.#copies.set(to, origin)
      if (this.#foreign.has(name)) this.#foreign.add(to)
      this.#put(to, Buffer.from(this.#bytes(name)))
    },
    junkFile: () => {
      const to = this.#dice.of([segmentName(this.#dice.under(30), this.#dice.under(60)), 'notes.txt', 'x.seg'])
      if (this.files.get(`${folder}/${to}`) === undefined) this.#put(to, this.#junk(this.#length()))
    },
    foreignFile: () => {
      const to = segmentName(this.#dice.under(30), this.#dice.under(60))
      const from = this.#dice.of([...this.#other.frames.keys()])
      if (this.#other === this.sample) return
      if (this.files.get(`${folder}/${to}`) !== undefined) return
      this.#foreign.add(to)
      this.#put(to, Buffer.from(this.#other.files.get(`${folder}/${from}`) ?? Buffer.alloc(0)))
    },
    newerFormat: name => {
      const bytes = this.#bytes(name)
      if (bytes.length < headerBytes || bytes.toString('latin1', 0, 8) !== 'TGJOURNL') return
      bytes.writeUInt16LE(2 + this.#dice.under(60_000), 8)
      bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60)
      this.#forget(name)
    },
    marks: () => {
      const file = `${folder}/marks`
      const bytes = this.files.get(file)
      if (bytes === undefined || bytes.length === 0) return
      const how = this.#dice.under(5)
      this.#marksHit = true
      this.#marksForeign ||= how === 3
      if (how === 0) this.files.delete(file)
      else if (how === 1) this.files.put(file, Buffer.from(bytes.subarray(0, this.#dice.under(bytes.length))))
      else if (how === 2) this.files.put(file, this.#junk(200))
      else if (how === 3) this.files.put(file, Buffer.from(this.#other.files.get(file) ?? Buffer.alloc(0)))
      else this.#flip(bytes, this.#dice.under(bytes.length))
    }
  }

  #bytes(name: string): Buffer {
    return this.files.get(`${folder}/${name}`) ?? Buffer.alloc(0)
  }

  #put(name: string, bytes: Buffer): void {
    this.files.put(`${folder}/${name}`, Buffer.from(bytes))
  }

  #any(): string {
    return this.#dice.of(this.files.names(folder).filter(name => name.endsWith('.seg')))
  }

  #flip(bytes: Buffer, at: number): void {
    bytes[at] = (bytes[at] ?? 0) ^ (1 << this.#dice.under(8))
  }

  /** A place in a file: where a frame was, or anywhere. */
  #place(name: string): number {
    const origin = [...this.names].find(([, now]) => now === name)?.[0] ?? ''
    const frames = this.sample.frames.get(origin) ?? []
    const { length } = this.#bytes(name)
    if (frames.length === 0 || this.#dice.under(2) === 0) return this.#dice.under(length + 1)
    return Math.min(length, this.#dice.of(frames).offset)
  }

  #length(): number {
    return this.#dice.of([1, 8, 64, 300, 1000, 3000]) + this.#dice.under(40)
  }

  #block(name: string): Buffer {
    const from = this.#place(name)
    return Buffer.from(this.#bytes(name).subarray(from, from + this.#length()))
  }

  #junk(length: number): Buffer {
    const fill = this.#dice.of([0, 255, -1])
    if (fill >= 0) return Buffer.alloc(length, fill)
    return Buffer.from(Array.from({ length }, () => this.#dice.under(256)))
  }

  #hasHeader(origin: string, bytes: Buffer): boolean {
    const was = this.sample.files.get(`${folder}/${origin}`)
    return was !== undefined && bytes.subarray(0, headerBytes).equals(was.subarray(0, headerBytes))
  }

  #speaksForItself(origin: string, name: string): boolean {
    const bytes = this.#bytes(name)
    const frames = this.sample.frames.get(origin) ?? []
    return segmentNames.test(name) && (this.#hasHeader(origin, bytes) || frames.some(frame => bytes.includes(frame.bytes, headerBytes)))
  }

  #forget(name: string): void {
    for (const [origin, now] of this.names) if (now === name) this.names.delete(origin)
  }

  #delete(name: string): void {
    this.files.delete(`${folder}/${name}`)
    this.#copies.delete(name)
    this.#forget(name)
  }

  #rename(from: string, to: string): void {
    if (from === to) return
    const bytes = this.files.get(`${folder}/${from}`)
    if (bytes === undefined) return
    this.#forget(to)
    this.files.put(`${folder}/${to}`, bytes)
    this.files.delete(`${folder}/${from}`)
    if (this.#foreign.delete(from)) this.#foreign.add(to)
    const copied = this.#copies.get(from)
    this.#copies.delete(from)
    this.#copies.delete(to)
    if (copied !== undefined) this.#copies.set(to, copied)
    for (const [origin, now] of this.names) if (now === from) this.names.set(origin, to)
  }
}
