import path from 'node:path'
import { readFully, type FilePort } from '../journal/files.ts'
import type { HeldFile } from '../storage/port.ts'

/** The files of a database that nobody has open, for reading. */
export async function openHeldFiles(files: FilePort, data: string): Promise<{ readonly files: readonly HeldFile[] } & AsyncDisposable> {
  const opened: number[] = []
  const held: HeldFile[] = []
  const close = async (): Promise<void> => {
    for (const fd of opened.splice(0)) await files.close(fd)
  }
  try {
    for (const name of (await files.list(data)).filter(one => one.startsWith('tidegate.duckdb')).toSorted()) {
      const file = path.join(data, name)
      const fd = await files.open(file, 'read')
      opened.push(fd)
      const bytes = (await files.stat(file))?.bytes ?? 0
      held.push({ name, bytes, read: async (buffer, length, position) => await readFully(files, fd, buffer, length, position) })
    }
    return { files: held, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}
