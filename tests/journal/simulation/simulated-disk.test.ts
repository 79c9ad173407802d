import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { loadFile, nodeFiles, replaceFile, writeFully, type FilePort } from '../../../journal/files.ts'
import { Dice } from './dice.ts'
import { Machine } from './machine.ts'
import { SimulatedDisk } from './simulated-disk.ts'
import { SimulatedTime } from './simulated-time.ts'

/** A port, a folder, and the way in which its calls come to an end. */
interface Ground {
  readonly files: FilePort
  readonly folder: string
  readonly settle: <Value>(call: Promise<Value>) => Promise<Value>
}

async function onDisk(check: (ground: Ground) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-port-'))
  try {
    await check({ files: nodeFiles, folder, settle: call => call })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function simulated(check: (ground: Ground) => Promise<void>): Promise<void> {
  using machine = makeMachine(1)
  const { port } = machine.start()
  await machine.settle(port.makeFolder('/folder'))
  await check({ files: port, folder: '/folder', settle: call => machine.settle(call) })
}

function makeMachine(seed: number): {
  readonly machine: Machine
  readonly disk: SimulatedDisk
  start(): ReturnType<Machine['start']>
  settle<Value>(call: Promise<Value>): Promise<Value>
} & Disposable {
  const time = new SimulatedTime()
  const dice = new Dice(seed)
  const disk = new SimulatedDisk(dice)
  const machine = new Machine({ time, disk, dice })
  return {
    machine,
    disk,
    start: () => machine.start(),
    settle: call => time.settle(call, 10_000, 'a call of the disk'),
    [Symbol.dispose]: () => time[Symbol.dispose]()
  }
}

const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString('latin1')

for (const [name, on] of [
  ['node:fs', onDisk],
  ['the simulated disk', simulated]
] as const) {
  test(`the file port over ${name}: files are made, written, read, cut, renamed and removed`, async () => {
    await on(async ({ files, folder, settle }) => {
      const file = `${folder}/a`
      await expect(settle(files.open(file, 'read'))).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(settle(files.open(file, 'modify'))).rejects.toMatchObject({ code: 'ENOENT' })
      const fd = await settle(files.open(file, 'create'))
      await expect(settle(files.open(file, 'create'))).rejects.toMatchObject({ code: 'EEXIST' })
      await settle(writeFully(files, fd, Buffer.from('0123456789'), 10, 0))
      await settle(writeFully(files, fd, Buffer.from('XY'), 2, 12))
      await settle(files.datasync(fd))
      expect(text(await settle(loadFile(files, file, 100)))).toBe('0123456789\0\0XY')
      expect(text(await settle(loadFile(files, file, 4)))).toBe('0123')
      await settle(files.truncate(fd, 3))
      await settle(files.truncate(fd, 5))
      expect(text(await settle(loadFile(files, file, 100)))).toBe('012\0\0')
      await settle(files.close(fd))
      await settle(files.rename(file, `${folder}/b`))
      expect(await settle(files.stat(file))).toBeUndefined()
      expect(await settle(files.stat(`${folder}/b`))).toMatchObject({ bytes: 5 })
      await settle(files.makeFolder(`${folder}/c/d`))
      expect((await settle(files.list(folder))).toSorted()).toEqual(['b', 'c'])
      await settle(files.unlink(`${folder}/b`))
      await expect(settle(files.unlink(`${folder}/b`))).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(settle(files.rename(`${folder}/b`, file))).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(settle(files.list(`${folder}/none`))).rejects.toMatchObject({ code: 'ENOENT' })
      await settle(files.syncFolder(folder))
      expect(await settle(files.freeBytes(folder))).toBeGreaterThan(0)
    })
  })
}

/** What becomes of something on many machines whose power goes. */
async function outcomes(
  act: (files: FilePort) => Promise<unknown>,
  look: (files: FilePort) => Promise<string | undefined>
): Promise<Set<string>> {
  const found = new Set<string>()
  for (let seed = 0; seed < 300; seed++) {
    using machine = makeMachine(seed)
    const process = machine.start()
    await machine.settle(process.port.makeFolder('/f'))
    await machine.settle(act(process.port))
    process.kill()
    machine.disk.losePower()
    found.add(String(await machine.settle(look(machine.start().port))))
  }
  return found
}

const loadA = async (files: FilePort): Promise<string | undefined> => text(await loadFile(files, '/f/a', 10_000))
/** The runs of equal bytes. */
const loadRuns = async (files: FilePort): Promise<string | undefined> =>
  (await loadA(files))?.replaceAll(/(.)\1*/gs, (run, byte: string) => `${byte === '\0' ? '-' : byte}${run.length} `)

async function create(files: FilePort, content: string): Promise<number> {
  const fd = await files.open('/f/a', 'create')
  await writeFully(files, fd, Buffer.from(content), content.length, 0)
  return fd
}

test('what a file and its folder were synced for is there after a loss of power, always', async () => {
  const found = await outcomes(async files => {
    const fd = await create(files, 'x'.repeat(600))
    await files.datasync(fd)
    await files.syncFolder('/f')
  }, loadRuns)
  expect([...found]).toEqual(['x600 '])
})

test('a file whose folder was not synced may be gone although its bytes are synced', async () => {
  const found = await outcomes(async files => await files.datasync(await create(files, 'x')), loadA)
  expect([...found].toSorted()).toEqual(['undefined', 'x'])
})

test('what was not synced is gone, there, torn, zeros, or there in sectors; what was synced before stays', async () => {
  const found = await outcomes(async files => {
    const fd = await create(files, 'x'.repeat(100))
    await files.datasync(fd)
    await files.syncFolder('/f')
    await writeFully(files, fd, Buffer.alloc(1500, 'y'), 1500, 100)
  }, loadRuns)
  expect([...found].every(runs => runs.startsWith('x100 '))).toBe(true)
  for (const some of ['x100 ', 'x100 y1500 ', 'x100 -1500 ', 'x100 -412 y1088 ', 'x100 y412 -1088 ']) expect(found).toContain(some)
  expect([...found].some(runs => / -512 y/.test(runs))).toBe(true)
  expect([...found].filter(runs => /^x100 y\d+ $/.test(runs)).length).toBeGreaterThan(10)
})

test('a rename that was not synced happened as a whole or not at all', async () => {
  const found = await outcomes(
    async files => {
      await replaceFile(files, '/f', 'a', Buffer.from('old'))
      const fd = await files.open('/f/b', 'create')
      await writeFully(files, fd, Buffer.from('new'), 3, 0)
      await files.datasync(fd)
      await files.syncFolder('/f')
      await files.rename('/f/b', '/f/a')
    },
    async files => `${await loadA(files)} ${(await files.list('/f')).toSorted().join()}`
  )
  expect([...found].toSorted()).toEqual(['new a', 'old a,b'])
})

test('after a sync that failed the next one succeeds, and what was written before may be gone', async () => {
  const found = new Set<string>()
  for (let seed = 0; seed < 300; seed++) {
    using machine = makeMachine(seed)
    const process = machine.start()
    const { port } = process
    await machine.settle(port.makeFolder('/f'))
    const fd = await machine.settle(create(port, 'x'.repeat(1000)))
    machine.machine.faults = [{ calls: ['datasync'], error: 'EIO', oneIn: 1, left: 1 }]
    await expect(machine.settle(port.datasync(fd))).rejects.toMatchObject({ code: 'EIO' })
    await machine.settle(port.datasync(fd))
    await machine.settle(port.syncFolder('/f'))
    const cached = await machine.settle(loadRuns(port))
    process.kill()
    machine.disk.losePower()
    found.add(`${cached}| ${await machine.settle(loadRuns(machine.start().port))}`)
  }
  expect(found).toContain('x1000 | x1000 ')
  expect(found).toContain('x1000 | -1000 ')
  expect(found).toContain('-1000 | -1000 ')
  expect(found).toContain('x1000 | -512 x488 ')
})

test('a process that is killed leaves what it wrote, a call under way happened or not, and it hears no more', async () => {
  const found = new Set<string>()
  for (let seed = 0; seed < 100; seed++) {
    using machine = makeMachine(seed)
    const process = machine.start()
    await machine.settle(process.port.makeFolder('/f'))
    const fd = await machine.settle(create(process.port, 'done'))
    let heard = false
    void process.port.write(fd, Buffer.from('half'), 0, 4, 4).finally(() => {
      heard = true
    })
    process.kill()
    found.add(String(await machine.settle(loadA(machine.start().port))))
    expect(heard).toBe(false)
  }
  expect([...found].toSorted()).toEqual(['done', 'doneh', 'doneha', 'donehal', 'donehalf'])
})

test('a disk has so much space and no more, and what is there can be written again', async () => {
  using machine = makeMachine(1)
  const { port } = machine.start()
  await machine.settle(port.makeFolder('/f'))
  machine.disk.capacityBytes = 10
  const fd = await machine.settle(port.open('/f/a', 'create'))
  expect(await machine.settle(port.write(fd, Buffer.alloc(20, 'x'), 0, 20, 0))).toBe(10)
  await expect(machine.settle(port.write(fd, Buffer.alloc(1), 0, 1, 10))).rejects.toMatchObject({ code: 'ENOSPC' })
  expect(await machine.settle(port.freeBytes('/f'))).toBe(0)
  expect(await machine.settle(port.write(fd, Buffer.alloc(10, 'y'), 0, 10, 0))).toBe(10)
})
