import type { DamagedRegion } from './frame-walker.ts'
import { readFully, writeFully, type FilePort } from './files.ts'

const folderName = 'quarantine'
const longestCopyBytes = 1024 * 1024
const mostFiles = 256

/**
 * Keeps a copy of damaged bytes in the folder `quarantine`, for people to look at: at most 1 MiB of a region and 256 files
 * in all; beyond that, and where it fails, damage is only counted. The same region is copied once.
 */
export async function quarantineRegion(files: FilePort, folder: string, name: string, fd: number, region: DamagedRegion): Promise<void> {
  const path = `${folder}/${folderName}/${name}@${region.offset}`
  try {
    await files.makeFolder(`${folder}/${folderName}`)
    if ((await files.list(`${folder}/${folderName}`)).length >= mostFiles) return
    const buffer = Buffer.alloc(Math.min(region.bytes, longestCopyBytes))
    const bytes = await readFully(files, fd, buffer, buffer.length, region.offset)
    const copy = await files.open(path, 'create')
    try {
      await writeFully(files, copy, buffer, bytes, 0)
    } finally {
      await files.close(copy)
    }
  } catch {
    // A copy that is already there, or a disk that takes none: the damage itself is reported by the caller.
  }
}

/**
 * Moves a whole file out of the journal's way: to the folder `quarantine` or, where that fails, to another name. What is
 * there already is kept. Returns false when neither can be done.
 */
export async function quarantineFile(files: FilePort, folder: string, name: string): Promise<boolean> {
  const from = `${folder}/${name}`
  try {
    await files.makeFolder(`${folder}/${folderName}`)
    await files.rename(from, await freeName(files, `${folder}/${folderName}/${name}`))
    return true
  } catch {
    return await files.rename(from, await freeName(files, `${from}.quarantine`)).then(
      () => true,
      () => false
    )
  }
}

async function freeName(files: FilePort, path: string): Promise<string> {
  for (let number = 0; ; number++) {
    const name = number === 0 ? path : `${path}.${number}`
    if ((await files.stat(name)) === undefined) return name
  }
}
