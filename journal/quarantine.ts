import type { DamagedRegion } from './frame-walker.ts'
import { isMissing, readFully, writeFully, type FilePort } from './files.ts'

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

/** Moves a whole file out of the journal's way. Returns false when that fails. */
export async function quarantineFile(files: FilePort, folder: string, name: string): Promise<boolean> {
  try {
    await files.makeFolder(`${folder}/${folderName}`)
    await files.rename(`${folder}/${name}`, `${folder}/${folderName}/${name}`)
    return true
  } catch (error) {
    return isMissing(error)
  }
}
