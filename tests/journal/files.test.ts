import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nodeFiles } from '../../journal/files.ts'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-files-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe('making a folder', () => {
  it('makes what is missing above it, and succeeds when all is there', async () => {
    const deep = path.join(folder, 'a', 'b', 'c')
    await nodeFiles.makeFolder(deep)
    await nodeFiles.makeFolder(deep)
    expect((await stat(deep)).isDirectory()).toBe(true)
  })

  it('fails where a file is in the way, and where nothing can be made', async () => {
    const file = path.join(folder, 'file')
    await writeFile(file, '')
    await expect(nodeFiles.makeFolder(file)).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(nodeFiles.makeFolder(path.join(file, 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  it.runIf(process.platform === 'linux')('ends with an error below a folder that takes none', async () => {
    await expect(nodeFiles.makeFolder('/proc/nope/deeper')).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
