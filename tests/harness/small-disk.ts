import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { mkdtemp, rmdir, statfs, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const mib = 1024 * 1024

/** Why no disk can be mounted here, or undefined when one can; for describeWhere. */
export function mountingFault(): string | undefined {
  const folder = mkdtempSync(path.join(tmpdir(), 'tidegate-mount-'))
  try {
    const { error, status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], { encoding: 'utf8' })
    if (error !== undefined) return `mount: ${error.message}`
    if (status !== 0) return stderr.trim()
    spawnSync('umount', ['--lazy', folder])
    return undefined
  } finally {
    rmdirSync(folder)
  }
}

/** A file system in memory with a ballast that leaves as much room as a test wants. */
export class SmallDisk implements AsyncDisposable {
  readonly folder: string
  readonly #ballast: string

  private constructor(folder: string) {
    this.folder = folder
    this.#ballast = path.join(folder, 'ballast')
  }

  /** Mounts one. Call it inside of describeWhere(mountingFault(), …). */
  static async mount(bytes: number): Promise<SmallDisk> {
    const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-disk-'))
    await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder])
    return new SmallDisk(folder)
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.folder)
    return bavail * bsize
  }

  /** Makes the ballast larger until no more than so many bytes are free; it never gets smaller. */
  async fill(leaveBytes = 0): Promise<void> {
    const block = Buffer.alloc(mib, 1)
    for (;;) {
      const over = (await this.freeBytes()) - leaveBytes
      if (over <= 0) return
      try {
        await writeFile(this.#ballast, block.subarray(0, Math.min(over, mib)), { flag: 'a' })
      } catch (error) {
        // Others write, too: what was free a moment ago may be theirs.
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
      }
    }
  }

  /** Takes all of the ballast away. */
  async empty(): Promise<void> {
    await truncate(this.#ballast, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('umount', ['--lazy', this.folder])
    await rmdir(this.folder)
  }
}
