import path from 'node:path'
import type { FilePort } from '../../journal/files.ts'

interface File {
  bytes: Buffer
  /** What survives a loss of power. */
  synced: Buffer
}

const blocks = 4096

/** A disk in memory whose power goes: at a chosen call, and with or without what was not synced. */
export class PowerCutDisk {
  #files = new Map<string, File>()
  /** Entries that survive a loss of power. */
  #synced = new Map<string, File>()
  #life = 0
  #callsLeft = Infinity
  #onCut: () => void = () => undefined

  /** Resolves when the power goes, `calls` calls from now that change something; those from then on fail. */
  async cutAfter(calls: number): Promise<void> {
    this.#callsLeft = calls
    await new Promise<void>(resolve => {
      this.#onCut = resolve
    })
  }

  /** What is there when the power is back; ports from before stay dead. `kept`: the process was killed, not the machine. */
  restart(kept: boolean): void {
    this.#life += 1
    this.#callsLeft = Infinity
    if (kept) for (const file of this.#files.values()) file.synced = Buffer.from(file.bytes)
    else this.#files = new Map(this.#synced)
    for (const file of this.#files.values()) file.bytes = Buffer.from(file.synced)
    this.#synced = new Map(this.#files)
  }

  /** The port of the process that runs now. */
  port(): FilePort {
    const life = this.#life
    const open = new Map<number, File>()
    let nextFd = 3
    const alive = (): void => {
      if (life !== this.#life || this.#callsLeft <= 0) throw systemError('EIO')
    }
    const change = (): void => {
      alive()
      this.#callsLeft -= 1
      if (this.#callsLeft <= 0) this.#onCut()
      alive()
    }
    const fileOf = (fd: number): File => open.get(fd) ?? fail('EBADF')
    return {
      open: async (name, mode) => {
        await Promise.resolve()
        let file = this.#files.get(name)
        if (mode === 'create') {
          change()
          if (file !== undefined) throw systemError('EEXIST')
          file = { bytes: Buffer.alloc(0), synced: Buffer.alloc(0) }
          this.#files.set(name, file)
        }
        alive()
        open.set(nextFd, file ?? fail('ENOENT'))
        return nextFd++
      },
      read: async (fd, buffer, offset, length, position) => {
        alive()
        const bytes = fileOf(fd).bytes.subarray(position, position + length)
        buffer.set(bytes, offset)
        return await Promise.resolve(bytes.length)
      },
      write: async (fd, buffer, offset, length, position) => {
        await Promise.resolve()
        change()
        const file = fileOf(fd)
        const grown = Buffer.alloc(Math.max(file.bytes.length, position + length))
        file.bytes.copy(grown)
        grown.set(buffer.subarray(offset, offset + length), position)
        file.bytes = grown
        return length
      },
      datasync: async fd => {
        await new Promise(resolve => setImmediate(resolve))
        change()
        const file = fileOf(fd)
        file.synced = Buffer.from(file.bytes)
      },
      truncate: async (fd, bytes) => {
        await Promise.resolve()
        change()
        const file = fileOf(fd)
        file.bytes = Buffer.from(file.bytes.subarray(0, bytes))
      },
      close: async fd => {
        open.delete(fd)
        await Promise.resolve()
      },
      stat: async name => {
        alive()
        const file = this.#files.get(name)
        return await Promise.resolve(
          file === undefined ? undefined : { bytes: file.bytes.length, modifiedMs: 0, device: 1n, inode: BigInt(name.length) }
        )
      },
      list: async folder => {
        alive()
        return await Promise.resolve(this.#namesIn(folder).map(name => path.basename(name)))
      },
      unlink: async name => {
        await Promise.resolve()
        change()
        if (!this.#files.delete(name)) throw systemError('ENOENT')
      },
      rename: async (from, to) => {
        await Promise.resolve()
        change()
        this.#files.set(to, this.#files.get(from) ?? fail('ENOENT'))
        this.#files.delete(from)
      },
      makeFolder: async () => await Promise.resolve(),
      syncFolder: async folder => {
        await new Promise(resolve => setImmediate(resolve))
        change()
        for (const name of this.#synced.keys()) if (path.dirname(name) === folder && !this.#files.has(name)) this.#synced.delete(name)
        for (const name of this.#namesIn(folder)) this.#synced.set(name, this.#files.get(name) ?? fail('ENOENT'))
      },
      freeBytes: async () => await Promise.resolve(1024 * 1024 * blocks)
    }
  }

  #namesIn(folder: string): readonly string[] {
    return [...this.#files.keys()].filter(name => path.dirname(name) === folder)
  }
}

function fail(code: string): never {
  throw systemError(code)
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code })
}
