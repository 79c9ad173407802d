/**
 * Reading the database's own files while DuckDB has them open. A process loses its lock on a file (fcntl) as soon as it
 * closes any descriptor of that file, and then a second process could open the database: so the descriptor with which
 * tidegate.duckdb is read stays open until DuckDB has closed the file.
 */
import fs from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { HeldFile } from './port.ts'

const openFile = promisify(fs.open)
const closeFile = promisify(fs.close)

/** The files of one database. */
export class HeldFiles {
  readonly #path: string
  #descriptor: number | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Runs the work with all files of the database. Nothing may write to them meanwhile: that is the caller's to see to. */
  async read<T>(work: (files: readonly HeldFile[]) => Promise<T>): Promise<T> {
    const own = (this.#descriptor ??= await openFile(this.#path, 'r'))
    const beside: number[] = []
    try {
      const files = [await heldFile(this.#path, own)]
      const folder = dirname(this.#path)
      for (const name of await readdir(folder)) {
        // The log, and what DuckDB may have begun to write beside it.
        if (!name.startsWith(`${basename(this.#path)}.`)) continue
        const descriptor = await openFile(join(folder, name), 'r')
        beside.push(descriptor)
        files.push(await heldFile(join(folder, name), descriptor))
      }
      return await work(files)
    } finally {
      for (const descriptor of beside) await closeFile(descriptor)
    }
  }

  /** Call it when DuckDB has closed the file, and before it opens it again. */
  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor)
    this.#descriptor = undefined
  }
}

async function heldFile(path: string, descriptor: number): Promise<HeldFile> {
  return {
    name: basename(path),
    bytes: (await stat(path)).size,
    read: (buffer, length, position) =>
      new Promise((resolve, reject) => {
        fs.read(descriptor, buffer, 0, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)))
      })
  }
}
