import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Tidegate } from '../harness/tidegate.ts'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-log-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

/** Runs a script with the compiled log module and answers its exit code and the lines of its log. */
async function run(name: string, body: string): Promise<{ readonly code: unknown; readonly lines: Record<string, unknown>[] }> {
  const script = path.join(folder, `${name}.mjs`)
  const module = pathToFileURL(path.resolve('dist/log.js')).href
  await writeFile(script, `import { endOnBug, openLog } from '${module}'\nconst output = openLog('info', 'edge')\n${body}`)
  return await new Promise(resolve => {
    execFile(process.execPath, [script], (error, stdout) =>
      resolve({
        code: error === null ? 0 : error.code,
        lines: stdout
          .trim()
          .split('\n')
          .map(line => JSON.parse(line) as Record<string, unknown>)
      })
    )
  })
}

describe('the log of a process', () => {
  it.each([
    ['a throw', "setTimeout(() => { throw new Error('a fault nobody expected') }, 1)"],
    ['a rejection', "Promise.reject(new Error('a fault nobody expected'))"]
  ])('%s that nobody catches is in it, and the exit code is 1', async (kind, fault) => {
    const { code, lines } = await run(
      kind.replace(' ', '-'),
      `endOnBug(output)\noutput.log.info('before')\n${fault}\nsetTimeout(() => output.log.info('after'), 500)`
    )
    expect(code).toBe(1)
    // A line that is on its way may come behind the one that is flushed.
    expect(lines.map(({ msg }) => String(msg)).toSorted()).toEqual(['before', 'this process ends'])
    expect(lines.find(({ msg }) => msg !== 'before')).toMatchObject({
      level: 60,
      process: 'edge',
      code: 'TG_BUG',
      err: { message: 'a fault nobody expected' }
    })
  })

  it('lines of edge and service look alike: who wrote them, and ISO time', async () => {
    await using tidegate = await Tidegate.start({ set: { 'log.level': 'debug' } })
    await tidegate.logged(line => line['process'] === 'service')
    await tidegate.stop()
    const [edge, service] = ['edge', 'service'].map(name => tidegate.log.filter(line => line['process'] === name))
    expect((edge?.length ?? 0) + (service?.length ?? 0)).toBe(tidegate.log.length)
    for (const line of tidegate.log) {
      expect(line['time']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      expect(line['pid']).toBe(line['process'] === 'edge' ? tidegate.pid : service?.[0]?.['pid'])
    }
    expect(edge?.map(({ msg }) => msg)).toContain('stopped')
  })
})
