import path from 'node:path'
import type { FilePort } from '../../journal/files.ts'
import { systemError } from './faulty-files.ts'

interface MemoryFile {
  bytes: Buffer
  readonly inode: bigint
}

/** Files in memory, by path: what a test damages by the thousand. Nothing is ever lost; see the simulated disk for that. */
export class MemoryFiles {
  readonly #files = new Map<string, MemoryFile>()
  readonly #folders = new Set<string>()
  readonly #open = new Map<number, MemoryFile>()
  #inodes = 0n
  #descriptors = 0
  /** Asked before each datasync; may throw. */
  onSync: () => void = () => undefined

  /** Names of the files in a folder, sorted. */
  names(folder: string): string[] {
    return [...this.#files.keys()]
      .filter(file => path.dirname(file) === folder)
      .map(file => path.basename(file))
      .toSorted()
  }

  /** The bytes of a file, as they are: they may be changed in place. */
  get(file: string): Buffer | undefined {
    return this.#files.get(file)?.bytes
  }

  put(file: string, bytes: Buffer): void {
    this.#files.set(file, { bytes, inode: ++this.#inodes })
    this.#folders.add(path.dirname(file))
  }

  delete(file: string): void {
    this.#files.delete(file)
  }

  /** Another set of files with the same content. */
  copy(): MemoryFiles {
    const copy = new MemoryFiles()
    for (const [file, { bytes }] of this.#files) copy.put(file, Buffer.from(bytes))
    return copy
  }

  /** Files that were opened and not closed. */
  get opened(): number {
    return this.#open.size
  }

  #descriptor(fd: number): MemoryFile {
    const file = this.#open.get(fd)
    if (file === undefined) throw systemError('EBADF')
    return file
  }

  #existing(file: string): MemoryFile {
    const found = this.#files.get(file)
    if (found === undefined) throw systemError('ENOENT')
    return found
  }

  readonly port: FilePort = {
    open: async (file, mode) => {
      await Promise.resolve()
      if (mode === 'create') {
        if (this.#files.has(file)) throw systemError('EEXIST')
        if (!this.#folders.has(path.dirname(file))) throw systemError('ENOENT')
        this.put(file, Buffer.alloc(0))
      }
      this.#open.set(++this.#descriptors, this.#existing(file))
      return this.#descriptors
    },
    read: async (fd, buffer, offset, length, position) => {
      await Promise.resolve()
      const { bytes } = this.#descriptor(fd)
      return position >= bytes.length ? 0 : bytes.copy(buffer, offset, position, Math.min(bytes.length, position + length))
    },
    write: async (fd, buffer, offset, length, position) => {
      await Promise.resolve()
      const file = this.#descriptor(fd)
      if (position + length > file.bytes.length) file.bytes = Buffer.concat([file.bytes], position + length)
      file.bytes.set(buffer.subarray(offset, offset + length), position)
      return length
    },
    datasync: async fd => {
      await Promise.resolve()
      this.#descriptor(fd)
      this.onSync()
    },
    truncate: async (fd, bytes) => {
      await Promise.resolve()
      const file = this.#descriptor(fd)
      file.bytes = Buffer.from(file.bytes.subarray(0, bytes))
    },
    close: async fd => {
      await Promise.resolve()
      this.#descriptor(fd)
      this.#open.delete(fd)
    },
    stat: async file => {
      await Promise.resolve()
      const found = this.#files.get(file)
      if (found === undefined) return undefined
      return { bytes: found.bytes.length, modifiedMs: 0, device: 1n, inode: found.inode }
    },
    list: async folder => {
      await Promise.resolve()
      if (!this.#folders.has(folder)) throw systemError('ENOENT')
      return this.names(folder)
    },
    unlink: async file => {
      await Promise.resolve()
      this.#existing(file)
      this.#files.delete(file)
    },
    rename: async (from, to) => {
      await Promise.resolve()
      this.#files.set(to, this.#existing(from))
      this.#files.delete(from)
    },
    makeFolder: async folder => {
      await Promise.resolve()
      this.#folders.add(folder)
    },
    syncFolder: () => Promise.resolve(),
    freeBytes: () => Promise.resolve(Number.MAX_SAFE_INTEGER)
  }
}
