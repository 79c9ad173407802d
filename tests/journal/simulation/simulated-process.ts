import type { FilePort } from '../../../journal/files.ts'
import type { Dice } from './dice.ts'
import type { DiskFault, FaultyCall, Machine } from './machine.ts'
import { systemError, type SimulatedDisk } from './simulated-disk.ts'
import type { SimulatedFile } from './simulated-file.ts'
import type { Happening } from './simulated-time.ts'

/**
 * A process's view of the disk: the file port of the journal. Calls take time, and see and change what all processes see
 * (the page cache). A process that was killed hears of its calls no more; those under way happened, or not, or half.
 */
export class SimulatedProcess {
  readonly #machine: Machine
  readonly #open = new Map<number, SimulatedFile>()
  readonly #underWay = new Map<Happening, () => void>()
  #descriptors = 3
  #killed = false

  constructor(machine: Machine) {
    this.#machine = machine
  }

  readonly port: FilePort = {
    open: (path, mode) => {
      if (mode !== 'create') return this.#look(`open ${path}`, disk => this.#descriptorOf(disk.find(path)))
      return this.#change({ call: 'create', what: path, change: disk => this.#descriptorOf(disk.create(path, this.#nowMs())) })
    },
    read: (fd, buffer, offset, length, position) =>
      this.#look(`read ${fd} ${length}@${position}`, (_, dice) => {
        const few = length > 1 && dice.oneIn(8) ? dice.between(1, length - 1) : length
        return this.#fileOf(fd).read(buffer.subarray(offset, offset + few), position)
      }),
    write: (fd, buffer, offset, length, position) => {
      const { dice } = this.#machine.options
      const file = this.#fileOf(fd)
      const put = (bytes: number): void => file.write(buffer.subarray(offset, offset + bytes), position, this.#nowMs())
      const half = (): void => put(dice.between(0, length))
      // Who reads meanwhile may see a part.
      if (!this.#killed && dice.oneIn(4)) half()
      return this.#change({
        call: 'write',
        what: `${fd} ${length}@${position}`,
        takesSpace: !this.#killed && position + length > file.bytes,
        half,
        change: (disk, fault) => {
          const room = Math.min(length, disk.freeBytes + Math.max(0, file.bytes - position))
          if (room === 0 && length > 0) throw systemError('ENOSPC')
          const taken = fault === 'short' && room > 1 ? dice.between(1, room - 1) : room
          put(taken)
          return taken
        }
      })
    },
    datasync: fd =>
      this.#change({
        call: 'datasync',
        what: String(fd),
        change: () => this.#fileOf(fd).sync(),
        fails: disk => disk.syncFails(this.#fileOf(fd))
      }),
    truncate: (fd, bytes) =>
      this.#change({ call: 'truncate', what: `${fd} ${bytes}`, change: () => this.#fileOf(fd).truncate(bytes, this.#nowMs()) }),
    close: fd => this.#look(`close ${fd}`, () => void this.#open.delete(fd)),
    stat: path => this.#look(`stat ${path}`, disk => disk.stat(path)),
    list: folder => this.#look(`list ${folder}`, disk => disk.list(folder)),
    unlink: path => this.#change({ call: 'unlink', what: path, takesSpace: false, change: disk => disk.unlink(path) }),
    rename: (from, to) => this.#change({ call: 'rename', what: `${from} ${to}`, change: disk => disk.rename(from, to) }),
    makeFolder: path =>
      this.#machine.options.disk.hasFolder(path)
        ? this.#look(`makeFolder ${path}`, () => undefined)
        : this.#change({ call: 'makeFolder', what: path, change: disk => disk.makeFolder(path) }),
    syncFolder: path => this.#change({ call: 'syncFolder', what: path, change: disk => disk.syncFolder(path) }),
    freeBytes: folder => this.#change({ call: 'freeBytes', what: folder, change: disk => disk.freeBytes })
  }

  get openFiles(): number {
    return this.#open.size
  }

  /** SIGKILL. */
  kill(): void {
    this.#killed = true
    const { time } = this.#machine.options
    for (const [happening, end] of this.#underWay) {
      time.cancel(happening)
      end()
    }
    this.#underWay.clear()
    this.#open.clear()
  }

  #nowMs(): number {
    return this.#machine.options.time.wallMs
  }

  #descriptorOf(file: SimulatedFile): number {
    const fd = this.#descriptors++
    this.#open.set(fd, file)
    return fd
  }

  #fileOf(fd: number): SimulatedFile {
    const file = this.#open.get(fd)
    if (file === undefined && !this.#killed) throw systemError('EBADF')
    return file as SimulatedFile
  }

  /** A call that changes nothing: at once, or a little later. */
  #look<Value>(what: string, look: (disk: SimulatedDisk, dice: Dice) => Value): Promise<Value> {
    const { time, disk, dice, trace } = this.#machine.options
    return new Promise((resolve, reject) => {
      if (this.#killed) return
      const answer = (): void => {
        if (this.#killed) return
        trace?.(what)
        try {
          resolve(look(disk, dice))
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)))
        }
      }
      if (dice.oneIn(8)) time.after(dice.between(0, 3) / 4, answer)
      else answer()
    })
  }

  /** A call that changes something; it happens as it ends. */
  #change<Value>(effect: Effect<Value>): Promise<Value> {
    const { call, what, change, half = nothing, fails = nothing, takesSpace = true } = effect
    const { time, disk, dice, trace } = this.#machine.options
    return new Promise((resolve, reject) => {
      if (this.#killed) return
      const fault = this.#machine.faultOf(call, takesSpace)
      const failing = fault !== undefined && fault !== 'short'
      const slow = call === 'datasync' && dice.oneIn(4) ? this.#machine.longestSyncMs : 0.5
      const happening = time.after((dice.between(0, 8) / 8) * slow, () => {
        this.#underWay.delete(happening)
        trace?.(`${call} ${what}${fault === undefined ? '' : ` ${fault}`}`)
        try {
          if (failing) {
            if (dice.oneIn(2)) half()
            fails(disk)
            throw systemError(fault)
          }
          resolve(change(disk, fault))
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)))
        }
      })
      this.#underWay.set(happening, () => {
        try {
          const fate = dice.between(0, 2)
          if (fate === 0 && !failing) change(disk, undefined)
          if (fate === 1) half()
        } catch {
          // It would have been an error; nobody is there to hear it.
        }
      })
    })
  }
}

interface Effect<Value> {
  readonly call: FaultyCall
  readonly what: string
  readonly change: (disk: SimulatedDisk, fault: DiskFault['error'] | undefined) => Value
  /** What a process that is killed meanwhile may leave. */
  readonly half?: () => void
  /** What an error does beside being one. */
  readonly fails?: (disk: SimulatedDisk) => void
  /** Whether it can fail for want of space. */
  readonly takesSpace?: boolean
}

function nothing(): void {}
