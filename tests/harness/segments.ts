import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { checkFrame, decodeSegmentHeader, frameOrdinal, segmentHeaderBytes } from '../../journal/frame.ts'

/** Takes one record out of the segments of a folder that nobody has open: what stood behind it moves up. */
export async function cutFrame(folder: string, ordinal: number): Promise<void> {
  for (const name of (await readdir(folder)).filter(file => file.endsWith('.seg'))) {
    const file = path.join(folder, name)
    const bytes = await readFile(file)
    const marker = decodeSegmentHeader(bytes)?.marker ?? 0
    for (let at = segmentHeaderBytes; at < bytes.length;) {
      const frameBytes = checkFrame(bytes, at, bytes.length, marker)
      if (frameBytes <= 0) throw new Error(`${file} has no frame at ${at}`)
      if (frameOrdinal(bytes, at) === ordinal) {
        await writeFile(file, Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + frameBytes)]))
        return
      }
      at += frameBytes
    }
  }
  throw new Error(`no segment in ${folder} has record ${ordinal}`)
}
