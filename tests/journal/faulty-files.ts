import path from 'node:path'
import { nodeFiles, type FilePort } from '../../journal/files.ts'

/** One call of the file port that changes something, in the order of their ends. */
export type FileEvent = {
  readonly call: 'write' | 'datasync' | 'syncFolder' | 'unlink' | 'rename' | 'create'
  readonly name: string
  readonly bytes?: number
}

/** The disk, with a diary and with faults that a test switches on: each is asked before the call and may throw. */
export class FaultyFiles {
  readonly events: FileEvent[] = []
  fault: (call: FileEvent['call'] | 'freeBytes', name: string) => void = () => undefined
  /** Awaited before each datasync. */
  gate: () => Promise<void> = () => Promise.resolve()
  freeBytes: number | undefined
  readonly #names = new Map<number, string>()

  readonly port: FilePort = {
    ...nodeFiles,
    open: async (file, mode) => {
      if (mode === 'create') this.fault('create', path.basename(file))
      const fd = await nodeFiles.open(file, mode)
      this.#names.set(fd, path.basename(file))
      if (mode === 'create') this.events.push({ call: 'create', name: path.basename(file) })
      return fd
    },
    write: async (fd, buffer, offset, length, position) => {
      const name = this.#names.get(fd) ?? ''
      this.fault('write', name)
      const bytes = await nodeFiles.write(fd, buffer, offset, length, position)
      this.events.push({ call: 'write', name, bytes })
      return bytes
    },
    datasync: async fd => {
      const name = this.#names.get(fd) ?? ''
      await this.gate()
      this.fault('datasync', name)
      await nodeFiles.datasync(fd)
      this.events.push({ call: 'datasync', name })
    },
    syncFolder: async folder => {
      this.fault('syncFolder', path.basename(folder))
      await nodeFiles.syncFolder(folder)
      this.events.push({ call: 'syncFolder', name: path.basename(folder) })
    },
    unlink: async file => {
      this.fault('unlink', path.basename(file))
      await nodeFiles.unlink(file)
      this.events.push({ call: 'unlink', name: path.basename(file) })
    },
    rename: async (from, to) => {
      this.fault('rename', path.basename(to))
      await nodeFiles.rename(from, to)
      this.events.push({ call: 'rename', name: path.basename(to) })
    },
    freeBytes: async folder => {
      this.fault('freeBytes', '')
      return this.freeBytes ?? (await nodeFiles.freeBytes(folder))
    }
  }
}

/** An error as the system makes them. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code })
}
