import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { emptyDemoFolder } from '../../commands/demo.ts'

let top = ''
beforeEach(async () => {
  top = await mkdtemp(path.join(tmpdir(), 'tidegate-demo-'))
})
afterEach(async () => {
  await rm(top, { recursive: true })
})

it('a folder that is missing is made, and what a demo left in it is gone at the next start', async () => {
  const folder = path.join(top, 'data', 'demo')
  await emptyDemoFolder(folder)
  await mkdir(path.join(folder, 'journal'))
  await writeFile(path.join(folder, 'journal', '1.seg'), 'records')
  await writeFile(path.join(folder, 'tidegate.duckdb'), 'points')
  await emptyDemoFolder(folder)
  expect((await readdir(folder)).filter(name => !/lock/.test(name))).toEqual(['.tidegate-demo'])
})

it("a folder with somebody's data is never emptied", async () => {
  await writeFile(path.join(top, 'tidegate.duckdb'), 'precious')
  await expect(emptyDemoFolder(top)).rejects.toMatchObject({ code: 'TG_DATA_UNWRITABLE', message: expect.stringContaining('--data') })
  expect(await readdir(top)).toEqual(['tidegate.duckdb'])
})

it('a path that cannot be a folder is a fault that names the setting', async () => {
  await writeFile(path.join(top, 'file'), '')
  await expect(emptyDemoFolder(path.join(top, 'file', 'demo'))).rejects.toMatchObject({
    code: 'TG_DATA_UNWRITABLE',
    message: expect.stringMatching(/^data: .*ENOTDIR/)
  })
})
