import path from 'node:path'
import type { FileStat } from '../../../journal/files.ts'
import type { Dice } from './dice.ts'
import { SimulatedFile } from './simulated-file.ts'

/** A change of a folder: on the disk when the folder was synced; before that, perhaps. */
interface FolderChange {
  onDisk: boolean
  readonly apply: () => void
}

interface Folder {
  readonly inode: bigint
  /** What processes see, and what is on the disk. */
  readonly live: Map<string, SimulatedFile>
  readonly durable: Map<string, SimulatedFile>
  readonly changes: FolderChange[]
}

/**
 * The files of a machine as its disk has them: what is not synced may be gone, torn or there after a loss of power, each
 * file and each change of a folder for itself. It changes at once; SimulatedProcess adds delays and faults.
 *
 * Assumed, as everywhere: a sector is written whole; what a sync or a directory's sync that succeeded has written stays;
 * a rename happens as one. Folders are durable when they are made, as the port promises.
 */
export class SimulatedDisk {
  /** Bytes that files can take in all. */
  capacityBytes = Number.MAX_SAFE_INTEGER
  /** A sync failed since the power came: what is in the page cache may never have been written. */
  lostSync = false
  readonly #dice: Dice
  readonly #folders = new Map<string, Folder>()
  #inodes = 1n
  readonly #unsettled: FolderChange[] = []

  constructor(dice: Dice) {
    this.#dice = dice
    this.makeFolder('/')
  }

  get usedBytes(): number {
    let used = 0
    for (const folder of this.#folders.values()) for (const file of folder.live.values()) used += file.bytes
    return used
  }

  get freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes)
  }

  hasFolder(name: string): boolean {
    return this.#folders.has(name)
  }

  create(name: string, nowMs: number): SimulatedFile {
    const folder = this.#folderOf(name)
    const base = path.basename(name)
    if (folder.live.has(base) || this.#folders.has(name)) throw systemError('EEXIST')
    const file = new SimulatedFile(this.#inodes++, nowMs)
    folder.live.set(base, file)
    this.#change([folder], () => folder.durable.set(base, file))
    return file
  }

  find(name: string): SimulatedFile {
    const file = this.#folderOf(name).live.get(path.basename(name))
    if (file === undefined) throw systemError('ENOENT')
    return file
  }

  unlink(name: string): void {
    const folder = this.#folderOf(name)
    const base = path.basename(name)
    const file = this.find(name)
    folder.live.delete(base)
    this.#change([folder], () => folder.durable.get(base) === file && folder.durable.delete(base))
  }

  rename(from: string, to: string): void {
    const [source, target] = [this.#folderOf(from), this.#folderOf(to)]
    const [old, next] = [path.basename(from), path.basename(to)]
    const file = this.find(from)
    source.live.delete(old)
    target.live.set(next, file)
    this.#change([source, target], () => {
      if (source.durable.get(old) === file) source.durable.delete(old)
      target.durable.set(next, file)
    })
  }

  stat(name: string): FileStat | undefined {
    const folder = this.#folders.get(name)
    if (folder !== undefined) return { bytes: 4096, modifiedMs: 0, device: 1n, inode: folder.inode }
    const file = this.#folders.get(path.dirname(name))?.live.get(path.basename(name))
    return file && { bytes: file.bytes, modifiedMs: file.modifiedMs, device: 1n, inode: file.inode }
  }

  list(name: string): string[] {
    const folders = [...this.#folders.keys()].filter(other => other !== '/' && path.dirname(other) === name)
    return [...(this.#folders.get(name) ?? missing()).live.keys(), ...folders.map(other => path.basename(other))]
  }

  makeFolder(name: string): void {
    if (this.#folders.has(name)) return
    if (name !== '/') {
      this.makeFolder(path.dirname(name))
      if (this.#folderOf(name).live.has(path.basename(name))) throw systemError('EEXIST')
    }
    this.#folders.set(name, { inode: this.#inodes++, live: new Map(), durable: new Map(), changes: [] })
  }

  syncFolder(name: string): void {
    for (const change of (this.#folders.get(name) ?? missing()).changes.splice(0)) reach(change)
  }

  syncFails(file: SimulatedFile): void {
    this.lostSync = true
    file.syncFails(this.#dice)
  }

  /** Loses the power: processes are gone before; what they had not synced is at the mercy of chance. */
  losePower(): void {
    const fate = this.#dice.pick(['lost', 'kept', 'each', 'each'])
    for (const change of this.#unsettled.splice(0)) {
      if (!change.onDisk && (fate === 'kept' || (fate === 'each' && this.#dice.oneIn(2)))) reach(change)
    }
    for (const folder of this.#folders.values()) {
      folder.changes.length = 0
      folder.live.clear()
      for (const [name, file] of folder.durable) folder.live.set(name, file)
      for (const file of folder.live.values()) file.loseUnsynced(this.#dice)
    }
    this.lostSync = false
  }

  #folderOf(name: string): Folder {
    return this.#folders.get(path.dirname(name)) ?? missing()
  }

  #change(folders: readonly Folder[], apply: () => void): void {
    const change = { onDisk: false, apply }
    for (const folder of folders) folder.changes.push(change)
    if (this.#unsettled.length > 1000) this.#unsettled.splice(0, this.#unsettled.length, ...this.#unsettled.filter(({ onDisk }) => !onDisk))
    this.#unsettled.push(change)
  }
}

/** An error as the system makes them. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code })
}

function reach(change: FolderChange): void {
  if (!change.onDisk) change.apply()
  change.onDisk = true
}

function missing(): never {
  throw systemError('ENOENT')
}
