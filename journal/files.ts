import fs from 'node:fs'
import { dirname } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** What a file or folder is, as far as the journal asks. */
export interface FileStat {
  readonly bytes: number
  readonly modifiedMs: number
  readonly device: bigint
  readonly inode: bigint
}

/**
 * The whole of what the journal, the dead letters and the lock's note ask of an operating system's files; no file whose
 * loss would break a promise is written past it. The checkpoint is in the catalogue, and so in DuckDB's file. Open files
 * are numbers. Calls fail with the error (and its `code`) of node:fs. Reads and writes may be short, as the system's are;
 * `readFully` and `writeFully` are not.
 */
export interface FilePort {
  /** read: an existing file. create: a new one, for reading and writing. modify: an existing one, for writing. */
  open(path: string, mode: 'read' | 'create' | 'modify'): Promise<number>
  /** Reads at a position into buffer[offset …]; 0 is the end of the file. */
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>
  /** Writes buffer[offset …] at a position; returns how many bytes it took. */
  write(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): Promise<number>
  /** Returns when the bytes written to this file so far, and its length, survive a loss of power. */
  datasync(fd: number): Promise<void>
  truncate(fd: number, bytes: number): Promise<void>
  close(fd: number): Promise<void>
  /** Undefined when there is nothing of that name. */
  stat(path: string): Promise<FileStat | undefined>
  /** Names in a folder, in no order. */
  list(folder: string): Promise<string[]>
  unlink(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Makes a folder and those above it, and returns when they survive a loss of power; succeeds when it is there. */
  makeFolder(path: string): Promise<void>
  /** Returns when creations, renames and removals in this folder survive a loss of power. */
  syncFolder(path: string): Promise<void>
  /** Bytes that this process could still write on the disk of a folder. */
  freeBytes(folder: string): Promise<number>
}

const blockBytes = 4096
const openFlags = { read: 'r', create: 'wx+', modify: 'r+' } as const

/** Level by level, because node's recursive mkdir never returns below a folder that takes none (/proc), and says not what it made. */
async function makeFolder(path: string): Promise<void> {
  try {
    await fs.promises.mkdir(path, { mode: 0o750 })
  } catch (error) {
    if (isMissing(error) && dirname(path) !== path && !(await exists(dirname(path)))) {
      await makeFolder(dirname(path))
      return await makeFolder(path)
    }
    if ((await fs.promises.stat(path).catch(() => undefined))?.isDirectory() === true) return
    throw error
  }
  await syncFolder(dirname(path)).catch((error: unknown) => {
    // A folder that may be written and not read cannot be synced by this user; nothing else is passed over.
    if (!isDenied(error)) throw error
  })
}

async function exists(path: string): Promise<boolean> {
  return (await fs.promises.stat(path).catch(() => undefined)) !== undefined
}

async function syncFolder(path: string): Promise<void> {
  const folder = await fs.promises.open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** The file port over node:fs. Callbacks instead of FileHandle: no object with a finalizer for each call. */
export const nodeFiles: FilePort = {
  open(path, mode) {
    return new Promise((resolve, reject) => {
      fs.open(path, openFlags[mode], 0o640, (error, fd) => (error === null ? resolve(fd) : reject(error)))
    })
  },
  read(fd, buffer, offset, length, position) {
    return new Promise((resolve, reject) => {
      fs.read(fd, buffer, offset, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)))
    })
  },
  write(fd, buffer, offset, length, position) {
    return new Promise((resolve, reject) => {
      fs.write(fd, buffer, offset, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)))
    })
  },
  datasync(fd) {
    return new Promise((resolve, reject) => {
      fs.fdatasync(fd, error => (error === null ? resolve() : reject(error)))
    })
  },
  truncate(fd, bytes) {
    return new Promise((resolve, reject) => {
      fs.ftruncate(fd, bytes, error => (error === null ? resolve() : reject(error)))
    })
  },
  close(fd) {
    return new Promise((resolve, reject) => {
      fs.close(fd, error => (error ? reject(error) : resolve()))
    })
  },
  async stat(path) {
    try {
      const stat = await fs.promises.stat(path, { bigint: true })
      return { bytes: Number(stat.size), modifiedMs: Number(stat.mtimeMs), device: stat.dev, inode: stat.ino }
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  },
  list: folder => fs.promises.readdir(folder),
  unlink: path => fs.promises.unlink(path),
  rename: (from, to) => fs.promises.rename(from, to),
  makeFolder,
  syncFolder,
  async freeBytes(folder) {
    const stat = await fs.promises.statfs(folder)
    return stat.bavail * stat.bsize
  }
}

/** True when an error of the file port says that there is nothing of that name. */
export function isMissing(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT'
}

function isDenied(error: unknown): boolean {
  return ['EACCES', 'EPERM'].includes(errnoOf(error) ?? '')
}

/** The system's name for what went wrong (`ENOSPC`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** True when an error of the file port says that the disk, or a quota, is used up. */
export function isNoSpace(error: unknown): boolean {
  const errno = errnoOf(error)
  return errno === 'ENOSPC' || errno === 'EDQUOT'
}

/** Writes all of buffer[0 … length) at a position. */
export async function writeFully(files: FilePort, fd: number, buffer: Uint8Array, length: number, position: number): Promise<void> {
  let written = 0
  while (written < length) {
    const bytes = await files.write(fd, buffer, written, length - written, position + written)
    if (bytes === 0) await nextTurn()
    written += bytes
  }
}

/**
 * Reads at a position until the buffer's first `length` bytes are full or the file ends; returns how many there are. A
 * block that the disk cannot read (EIO) reads as zeros, which no check passes: damage like any other.
 */
export async function readFully(files: FilePort, fd: number, buffer: Uint8Array, length: number, position: number): Promise<number> {
  let got = 0
  while (got < length) {
    const at = position + got
    const bytes = await orUnreadable(files.read(fd, buffer, got, length - got, at), async () => {
      const block = Math.min(blockBytes - (at % blockBytes), length - got)
      return await orUnreadable(files.read(fd, buffer, got, block, at), () => {
        buffer.fill(0, got, got + block)
        return block
      })
    })
    if (bytes === 0) break
    got += bytes
  }
  return got
}

async function orUnreadable(read: Promise<number>, unreadable: () => number | Promise<number>): Promise<number> {
  try {
    return await read
  } catch (error) {
    if (errnoOf(error) !== 'EIO') throw error
    return await unreadable()
  }
}

/** The first `maxBytes` of a file, or undefined when it is missing. */
export async function loadFile(files: FilePort, path: string, maxBytes: number): Promise<Buffer | undefined> {
  let fd: number
  try {
    fd = await files.open(path, 'read')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
  try {
    const buffer = Buffer.alloc(maxBytes)
    return buffer.subarray(0, await readFully(files, fd, buffer, maxBytes, 0))
  } finally {
    await files.close(fd)
  }
}

/** Replaces a small file as a whole: after a crash it holds either the old bytes or the new ones. */
export async function replaceFile(files: FilePort, folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = `${folder}/${name}`
  const temporary = `${path}.tmp`
  try {
    await files.unlink(temporary)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  const fd = await files.open(temporary, 'create')
  try {
    await writeFully(files, fd, bytes, bytes.byteLength, 0)
    await files.datasync(fd)
  } finally {
    await files.close(fd)
  }
  await files.rename(temporary, path)
  await files.syncFolder(folder)
}
