/**
 * Writes a backup into an empty folder. The order is what makes it one moment:
 *
 * 1. The dead letters are pinned: what they say of letters that went (`bound`) must not know of records beyond the checkpoint of
 *    the database.
 * 2. The database, while nothing is written to it. It says where its checkpoint is, and from where on records are being written
 *    into the store again. From there on the journal is pinned before the first byte is copied: what the database says stays
 *    true as long as it is held.
 * 3. The dead letters: all that this checkpoint counts, and perhaps more, which are known by their position as after a crash.
 * 4. The journal from that checkpoint on, or from where on it says that records have to be written again, up to what can be
 *    read now. That is behind everything acknowledged before the backup was asked for, and behind every record that a copied
 *    letter speaks of.
 * 5. Everything is made durable, and then the manifest is written.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { TidegateError } from '../errors.ts'
import { extractJournal, saveExtractedMarks, type Extract } from '../journal/extract.ts'
import { replaceFile, type FilePort } from '../journal/files.ts'
import { listSegments } from '../journal/segments.ts'
import type { HeldDatabase } from '../storage/port.ts'
import { copyTo, digest, settleFile, unwritable, withSource, type ByteSource } from './copying.ts'
import { backupVersion, encodeManifest, manifestName, type BackupFile, type Manifest } from './manifest.ts'

/** What a backup is made of, and how those who write it are kept still. */
export interface BackupSources {
  readonly files: FilePort
  /** The data folder. */
  readonly data: string
  readonly store: 'embedded' | 'influx'
  /** Space that is left free on the disk of the data folder. */
  readonly reserveBytes: number
  /** Every record below has its outcome now and does not have to be written again: what the room is reckoned by. */
  readonly settledBelow: number
  /** Undefined when the data folder is not open: then everything in it stands still, and all of the journal is copied. */
  readonly running:
    | {
        /** UUID of the journal. */
        readonly journal: string
        /** Keeps records from the ordinal on; `readable` is behind everything acknowledged before it was called. */
        pinJournal(from: number): Promise<{ readonly readable: number; release(): void }>
        pinLetters(): Promise<() => void>
      }
    | undefined
  hold<T>(work: (database: HeldDatabase) => Promise<T>): Promise<T>
  /** The clock, ms since 1970. */
  readonly now: () => number
}

export interface BackupReport extends Manifest {
  readonly folder: string
  /** How long nothing was written to the database, and how long it all took. */
  readonly heldMs: number
  readonly tookMs: number
}

/** What the dead letters keep beside their segments: how far they are freed, and how many went. */
const letterBound = 'dead-letters/bound'
const spaceCheckBytes = 64 * 1024 * 1024

/**
 * Writes the backup. When it fails, or the signal aborts, what was written is removed.
 * @throws TidegateError TG_BACKUP_UNWRITABLE, and what the sources throw
 */
export async function writeBackup(folder: string, sources: BackupSources, signal: AbortSignal): Promise<BackupReport> {
  const began = performance.now()
  const writer = new BackupWriter(folder, sources, signal)
  try {
    await writer.checkSpace()
    const { manifest, heldMs } = await writer.write()
    return { ...manifest, folder, heldMs, tookMs: Math.round(performance.now() - began) }
  } catch (error) {
    await writer.remove()
    throw unwritable(error, folder)
  }
}

class BackupWriter {
  readonly #folder: string
  readonly #sources: BackupSources
  readonly #signal: AbortSignal
  readonly #written: BackupFile[] = []
  #unchecked = 0
  #sharesDisk = true

  constructor(folder: string, sources: BackupSources, signal: AbortSignal) {
    this.#folder = folder
    this.#sources = sources
    this.#signal = signal
  }

  /** Refuses before the first byte when there is no room. */
  async checkSpace(): Promise<void> {
    const { files, data, reserveBytes, settledBelow } = this.#sources
    const own = await files.stat(data)
    this.#sharesDisk = own === undefined || own.device === (await files.stat(this.#folder))?.device
    const segments = await listSegments(files, path.join(data, 'journal'))
    const paths = segments.filter(({ end }) => end > settledBelow).map(segment => segment.path)
    for (const name of await files.list(data)) if (name.startsWith('tidegate.duckdb')) paths.push(path.join(data, name))
    for (const segment of await listSegments(files, path.join(data, 'dead-letters'))) paths.push(segment.path)
    let needed = this.#sharesDisk ? reserveBytes : 0
    for (const file of paths) needed += (await files.stat(file))?.bytes ?? 0
    const free = await files.freeBytes(this.#folder)
    if (free >= needed) return
    throw new TidegateError(
      'TG_BACKUP_UNWRITABLE',
      `the backup cannot be written to ${this.#folder}: it needs ${needed} bytes${this.#sharesDisk ? ' with journal.reserve' : ''} and ${free} are free`,
      { context: { folder: this.#folder, needed, free } }
    )
  }

  async write(): Promise<{ readonly manifest: Manifest; readonly heldMs: number }> {
    const { files, store, running, now } = this.#sources
    const created = new Date(now()).toISOString()
    const releases: (() => void)[] = []
    try {
      if (running !== undefined) releases.push(await running.pinLetters())
      const pinJournal = async (from = 0): Promise<number | undefined> => {
        const pin = await running?.pinJournal(from)
        if (pin !== undefined) releases.push(() => pin.release())
        return pin?.readable
      }
      const { own, from, heldMs } = await this.#copyDatabase(pinJournal)
      await this.#copyLetters()
      const head = await pinJournal(from)
      const { uuid, timeline = uuid } = await this.#copyJournal({ from, committedBelow: own?.position, head })
      const manifest: Manifest = {
        version: backupVersion,
        created,
        journal: uuid,
        timeline,
        checkpoint: own?.position ?? null,
        head: head ?? null,
        store,
        files: this.#written
      }
      for (const file of this.#written) await settleFile(files, path.join(this.#folder, file.path))
      for (const name of ['journal', 'dead-letters']) await files.syncFolder(path.join(this.#folder, name))
      this.#signal.throwIfAborted()
      await replaceFile(files, this.#folder, manifestName, Buffer.from(encodeManifest(manifest)))
      return { manifest, heldMs }
    } finally {
      for (const release of releases) release()
    }
  }

  /** Takes away what was written; what else is in the folder stays. */
  async remove(): Promise<void> {
    const names = [manifestName, `${manifestName}.tmp`, 'journal', 'dead-letters']
    for (const { path: name } of this.#written) if (!name.includes('/')) names.push(name)
    for (const name of names) await rm(path.join(this.#folder, name), { recursive: true, force: true }).catch(() => undefined)
  }

  /** Copies it with the journal pinned from where on a restored one needs it. */
  async #copyDatabase(pinJournal: (from: number | undefined) => Promise<unknown>) {
    return await this.#sources.hold(async ({ checkpoint, files }) => {
      const began = performance.now()
      const own = checkpoint?.journal === this.#sources.running?.journal ? checkpoint : undefined
      const from = own?.rewriteFrom ?? own?.position
      await pinJournal(from)
      for (const file of files) await this.#copy(file, file.name)
      return { own, from, heldMs: Math.round(performance.now() - began) }
    })
  }

  async #copyLetters(): Promise<void> {
    const extract = await this.#copySegments('dead-letters', { from: 0, to: Infinity })
    if (extract === undefined) return
    const { files, data } = this.#sources
    const bound = path.join(data, letterBound)
    if ((await files.stat(bound)) !== undefined) {
      await withSource(files, bound, undefined, async source => await this.#copy(source, letterBound))
    }
    await this.#saveMarks('dead-letters', extract, { committedBelow: Infinity, head: Infinity })
  }

  async #copyJournal(range: {
    readonly from: number | undefined
    readonly committedBelow: number | undefined
    readonly head: number | undefined
  }): Promise<Extract['marks']> {
    const { from = 0, committedBelow, head = Infinity } = range
    const extract = await this.#copySegments('journal', { from, to: head })
    if (extract === undefined) {
      throw new TidegateError('TG_BACKUP_UNWRITABLE', `there is no journal in ${this.#sources.data} (setting: data)`)
    }
    await this.#saveMarks('journal', extract, { committedBelow: committedBelow ?? extract.marks.committedBelow, head })
    return extract.marks
  }

  /** The marks are read first, so that they speak of no record that comes later. */
  async #copySegments(name: string, range: { readonly from: number; readonly to: number }): Promise<Extract | undefined> {
    const { files, data } = this.#sources
    await files.makeFolder(path.join(this.#folder, name))
    const extract = await extractJournal(files, path.join(data, name), range)
    for (const segment of extract?.files ?? []) {
      const source = path.join(data, name, segment.name)
      await withSource(files, source, segment.bytes, async bytes => await this.#copy(bytes, `${name}/${segment.name}`))
    }
    return extract
  }

  async #saveMarks(name: string, { marks }: Extract, limits: { readonly committedBelow: number; readonly head: number }): Promise<void> {
    const { files } = this.#sources
    const folder = path.join(this.#folder, name)
    const committedBelow = Math.min(limits.committedBelow === Infinity ? marks.committedBelow : limits.committedBelow, limits.head)
    await saveExtractedMarks(files, folder, marks, { ...limits, committedBelow })
    await withSource(files, path.join(folder, 'marks'), undefined, async source => {
      const sha256 = await digest(source, this.#signal, async () => {})
      this.#written.push({ path: `${name}/marks`, bytes: source.bytes, sha256 })
    })
  }

  async #copy(source: ByteSource, name: string): Promise<void> {
    const options = { files: this.#sources.files, signal: this.#signal, onPiece: async (bytes: number) => await this.#watchSpace(bytes) }
    const entry = { path: name, bytes: source.bytes, sha256: '' }
    const index = this.#written.push(entry) - 1
    this.#written[index] = { ...entry, sha256: await copyTo(source, path.join(this.#folder, name), options) }
  }

  /** What is written meanwhile may fill the disk; the reserve is the journal's. */
  async #watchSpace(bytes: number): Promise<void> {
    this.#unchecked += bytes
    if (!this.#sharesDisk || this.#unchecked < spaceCheckBytes) return
    this.#unchecked = 0
    const { files, reserveBytes } = this.#sources
    if ((await files.freeBytes(this.#folder)) >= reserveBytes) return
    throw new TidegateError('TG_BACKUP_UNWRITABLE', `the backup would use up the reserve of the disk (journal.reserve)`)
  }
}
