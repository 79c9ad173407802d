import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { faults } from './faults.ts'

/**
 * Faults planted in a copy of the sources must be caught by the suites: a promise whose test cannot fail is not tested.
 * The copy without a fault must pass the same suites first.
 */
const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))
const left = new Set(['node_modules', 'dist', '.git', 'data', 'bench/results'])
let copy = ''

beforeAll(async () => {
  copy = await mkdtemp(path.join(tmpdir(), 'tidegate-faults-'))
  await cp(top, copy, { recursive: true, filter: source => !left.has(path.relative(top, source)) })
  await symlink(path.join(top, 'node_modules'), path.join(copy, 'node_modules'))
})
afterAll(async () => {
  await rm(copy, { recursive: true, force: true })
})

async function run(command: string, args: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  const child = spawn(command, args, { cwd: copy, env: { ...process.env, CI: 'true' }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await once(child, 'close')
  return { code: child.exitCode ?? -1, output }
}

async function suite(files: readonly string[]): Promise<{ readonly code: number; readonly output: string }> {
  const built = await run(process.execPath, ['bin/build.mjs'])
  if (built.code !== 0) throw new Error(`the copy does not build:\n${built.output}`)
  return await run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'fast', ...files])
}

describe('planted faults', () => {
  it('the copy without a fault passes', async () => {
    const result = await suite([...new Set(faults.flatMap(fault => fault.caughtBy))])
    expect(result.code, result.output).toBe(0)
  })

  it.each([...faults])('caught: $name', async ({ file, find, replace, caughtBy }) => {
    const source = path.join(copy, file)
    const original = await readFile(source, 'utf8')
    expect(original.split(find).length - 1, `${file} holds the place to change exactly once`).toBe(1)
    await writeFile(
      source,
      original.replace(find, () => replace)
    )
    try {
      const result = await suite(caughtBy)
      expect(result.code, `no test noticed:\n${result.output}`).not.toBe(0)
      expect(result.output, 'a test failed, not the start of the suite').toMatch(/Tests\s+\d+ failed/)
    } finally {
      await writeFile(source, original)
    }
  })
})
