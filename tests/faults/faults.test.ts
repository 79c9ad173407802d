import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { faults } from './faults.ts'

/**
 * Faults planted in a copy of the sources must be caught by the suites: a promise whose test cannot fail is not tested.
 * The copy without a fault must pass the same suites first. TIDEGATE_FAULT=text plants only those whose name holds the text.
 */
const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))
/** Paths below the top that are not copied: what is built, what is measured, data folders, and everything hidden. */
const left = /^(?:node_modules|dist(?:\..*)?|data|\..*|bench\/results)$/
const wanted = faults.filter(fault => fault.name.includes(process.env['TIDEGATE_FAULT'] ?? ''))
/** A fault may hang the suite that notices it. */
const suiteDeadlineMs = 120_000
/** All suites together, without a fault. */
const allDeadlineMs = 800_000

let folder = ''
let copy = ''
const running = new Set<ChildProcess>()
process.once('exit', () => running.forEach(killGroup))

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-faults-'))
  copy = path.join(folder, 'copy')
  // What suites that end early leave behind goes with the folder.
  await mkdir(path.join(folder, 'tmp'))
  await cp(top, copy, { recursive: true, filter: source => !left.test(path.relative(top, source)) })
  await symlink(path.join(top, 'node_modules'), path.join(copy, 'node_modules'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
})

interface Result {
  readonly code: number
  readonly output: string
}

/** A process and whatever it started: they are a group of their own. */
function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group is gone.
  }
}

async function run(args: readonly string[], deadlineMs: number): Promise<Result> {
  const env = { ...process.env, CI: 'true', NO_COLOR: '1', TMPDIR: path.join(folder, 'tmp') }
  const child = spawn(process.execPath, args, { cwd: copy, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const deadline = setTimeout(() => killGroup(child), deadlineMs)
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const read = once(child, 'close')
  await once(child, 'exit')
  clearTimeout(deadline)
  // A test that failed may have left servers behind; they hold the output open.
  killGroup(child)
  await read
  running.delete(child)
  return { code: child.exitCode ?? -1, output }
}

async function suite(files: readonly string[], deadlineMs: number, ...options: readonly string[]): Promise<Result> {
  // Only processes run what is built; all other suites run the sources.
  if (files.some(file => file.startsWith('tests/e2e/'))) {
    const built = await run(['bin/build.mjs'], deadlineMs)
    if (built.code !== 0) throw new Error(`the copy does not build:\n${built.output}`)
  }
  const projects = ['fast', 'fuzz', 'conformance'].flatMap(project => ['--project', project])
  return await run(['node_modules/vitest/vitest.mjs', 'run', ...projects, ...options, ...files], deadlineMs)
}

describe('planted faults', () => {
  it('the copy without a fault passes', async () => {
    const result = await suite([...new Set(wanted.flatMap(fault => fault.caughtBy))], allDeadlineMs)
    expect(result.code, result.output).toBe(0)
  })

  it.each([...wanted])('caught: $name', async ({ file, find, replace, caughtBy }) => {
    const source = path.join(copy, file)
    const original = await readFile(source, 'utf8')
    expect(original.split(find).length - 1, `${file} holds the place to change exactly once`).toBe(1)
    await writeFile(
      source,
      original.replace(find, () => replace)
    )
    try {
      const result = await suite(caughtBy, suiteDeadlineMs, '--bail=1')
      expect(result.code, `no test noticed:\n${result.output}`).not.toBe(0)
      expect(result.output, 'a test failed, not the start of the suite').toMatch(/Tests\s+\d+ failed/)
      // Neither a fault that is no program nor a slow machine counts as noticed.
      expect(result.output).not.toMatch(/ReferenceError|SyntaxError|Test timed out/)
      console.log(/ FAIL .*\n.*/.exec(result.output)?.[0])
    } finally {
      await writeFile(source, original)
    }
  })
})
