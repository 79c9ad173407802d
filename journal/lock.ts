import { createServer, type Server } from 'node:net'
import { TidegateError } from '../errors.ts'
import { errnoOf, isMissing, isNoSpace, loadFile, nodeFiles, replaceFile, type FilePort } from './files.ts'

/** The file that says who has a folder. */
export const lockName = 'lock'

interface Holder {
  readonly pid: number
  readonly since: string
}

/**
 * The one process that may write a data folder. Node has no file lock, so an abstract Unix socket named after the folder's
 * device and inode excludes; it vanishes with its process, however that ends. The file `lock` beside it only says who.
 * Is not: a lock across containers that do not share a network namespace. Where there are no abstract sockets (not
 * Linux), the file decides, by whether its process lives.
 */
export class FolderLock implements AsyncDisposable {
  readonly folder: string
  readonly #files: FilePort
  readonly #server: Server | undefined
  #released: Promise<void> | undefined

  /**
   * Takes a folder, which is made when missing.
   * @throws TidegateError TG_DATA_IN_USE when another process has it; TG_DATA_UNWRITABLE when it cannot be written
   */
  static async acquire(folder: string, files: FilePort = nodeFiles): Promise<FolderLock> {
    try {
      await files.makeFolder(folder)
      const stat = await files.stat(folder)
      const server = process.platform === 'linux' ? await bind(`\0tidegate-${stat?.device}-${stat?.inode}`) : undefined
      if (process.platform === 'linux' ? server === undefined : isAlive(await loadHolder(files, folder))) throw await inUse(files, folder)
      try {
        const holder: Holder = { pid: process.pid, since: new Date().toISOString() }
        await replaceFile(files, folder, lockName, Buffer.from(`${JSON.stringify(holder)}\n`))
      } catch (error) {
        // A full disk must not keep the process from starting: the socket excludes, and no note is better than that of another.
        if (server === undefined || !isNoSpace(error)) {
          await unbind(server)
          throw error
        }
        await files.unlink(`${folder}/${lockName}`).catch(() => undefined)
      }
      return new FolderLock(folder, files, server)
    } catch (error) {
      if (error instanceof TidegateError) throw error
      throw new TidegateError(
        'TG_DATA_UNWRITABLE',
        `cannot write the data folder ${folder} (setting: data): ${errnoOf(error) ?? String(error)}`,
        {
          context: { setting: 'data', folder },
          cause: error
        }
      )
    }
  }

  private constructor(folder: string, files: FilePort, server: Server | undefined) {
    this.folder = folder
    this.#files = files
    this.#server = server
  }

  /** Gives the folder back. Idempotent. */
  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release()
  }

  async #release(): Promise<void> {
    try {
      await this.#files.unlink(`${this.folder}/${lockName}`)
    } catch (error) {
      // Who cannot remove the note still lets go: the socket is what excludes.
      if (!isMissing(error) && process.platform !== 'linux') throw error
    }
    await unbind(this.#server)
  }
}

/** Undefined when the name is taken. */
function bind(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    server.once('error', error => (errnoOf(error) === 'EADDRINUSE' ? resolve(undefined) : reject(error)))
    server.listen({ path }, () => {
      server.unref()
      resolve(server)
    })
  })
}

function unbind(server: Server | undefined): Promise<void> {
  return new Promise(resolve => {
    if (server === undefined) resolve()
    else server.close(() => resolve())
  })
}

async function inUse(files: FilePort, folder: string): Promise<TidegateError> {
  const holder = await loadHolder(files, folder).catch(() => undefined)
  const who = holder === undefined ? 'another process' : `process ${holder.pid} since ${holder.since}`
  return new TidegateError(
    'TG_DATA_IN_USE',
    `the data folder ${folder} is in use by ${who}; stop that, or set another folder (setting: data)`,
    {
      context: { setting: 'data', folder, pid: holder?.pid, since: holder?.since }
    }
  )
}

async function loadHolder(files: FilePort, folder: string): Promise<Holder | undefined> {
  const bytes = await loadFile(files, `${folder}/${lockName}`, 1024)
  if (bytes === undefined) return undefined
  try {
    const parsed: unknown = JSON.parse(bytes.toString('utf8'))
    return isHolder(parsed) ? parsed : undefined
  } catch {
    return undefined
  }
}

function isHolder(value: unknown): value is Holder {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    Number.isSafeInteger(value.pid) &&
    'since' in value &&
    typeof value.since === 'string'
  )
}

function isAlive(holder: Holder | undefined): boolean {
  if (holder === undefined || holder.pid === process.pid) return false
  try {
    process.kill(holder.pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}
