import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openJournal } from '../journal/fixture.ts'

/** Permissions do not bind root, so a test that runs as root starts Tidegate without what makes it so. */
const [program = '', ...before] =
  process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all', process.execPath] : [process.execPath]

async function makeFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-read-only-'))
  await chmod(folder, 0o755)
  return {
    path: folder,
    [Symbol.asyncDispose]: async () => {
      for (const each of [folder, path.join(folder, 'journal')]) await chmod(each, 0o755).catch(() => undefined)
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** Runs `tidegate start` there and answers how it ended. */
async function start(data: string): Promise<{ readonly code: unknown; readonly stderr: string }> {
  const args = [...before, 'bin/tidegate.mjs', 'start', '--data', data, '--mqtt-port', '0', '--http-port', '0']
  return await new Promise(resolve => {
    execFile(program, args, { timeout: 30_000 }, (error, _stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, stderr: stderr.trim() })
    )
  })
}

describe('a folder that may only be read', () => {
  it('is refused with one line that names the setting, when it is the data folder', async () => {
    await using folder = await makeFolder()
    await chmod(folder.path, 0o555)
    const { code, stderr } = await start(folder.path)
    expect({ code, lines: stderr.split('\n').length }).toEqual({ code: 1, lines: 1 })
    expect(stderr).toContain(`${folder.path} (setting: data): EACCES`)
  })

  it('is refused with one line that names the setting, when it is the journal in it, and nothing is changed there', async () => {
    await using folder = await makeFolder()
    const journal = path.join(folder.path, 'journal')
    await mkdir(journal)
    await (await openJournal(journal)).close()
    await chmod(journal, 0o555)
    await chmod(folder.path, 0o777)
    const { code, stderr } = await start(folder.path)
    expect({ code, lines: stderr.split('\n').length }).toEqual({ code: 1, lines: 1 })
    expect(stderr).toContain(`${journal} (setting: data): EACCES`)
  })
})
