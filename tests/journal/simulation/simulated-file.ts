import type { Dice } from './dice.ts'

/** What a disk writes as a whole. */
const sectorBytes = 512

/**
 * The content of one file: `live` is what every process sees (the page cache), `durable` what the disk has. Sectors that
 * were written and not synced since may reach the disk at any time and in any order, whole; how long the file is, too.
 */
export class SimulatedFile {
  readonly inode: bigint
  modifiedMs: number
  #live: Buffer = Buffer.alloc(0)
  #liveBytes = 0
  #durable: Buffer = Buffer.alloc(0)
  #durableBytes = 0
  readonly #dirty = new Set<number>()

  constructor(inode: bigint, nowMs: number) {
    this.inode = inode
    this.modifiedMs = nowMs
  }

  get bytes(): number {
    return this.#liveBytes
  }

  /** Whether a loss of power could change it. */
  get synced(): boolean {
    return this.#dirty.size === 0 && this.#liveBytes === this.#durableBytes
  }

  read(into: Uint8Array, position: number): number {
    const from = Math.min(position, this.#liveBytes)
    const bytes = this.#live.subarray(from, Math.min(from + into.byteLength, this.#liveBytes))
    into.set(bytes)
    return bytes.length
  }

  write(bytes: Uint8Array, position: number, nowMs: number): void {
    if (bytes.byteLength === 0) return
    const end = position + bytes.byteLength
    this.#live = grown(this.#live, end)
    this.#live.set(bytes, position)
    this.#liveBytes = Math.max(this.#liveBytes, end)
    this.modifiedMs = nowMs
    for (let sector = Math.floor(position / sectorBytes); sector * sectorBytes < end; sector++) this.#dirty.add(sector)
  }

  truncate(bytes: number, nowMs: number): void {
    this.#live = grown(this.#live, bytes)
    this.#live.fill(0, bytes)
    this.#liveBytes = bytes
    this.modifiedMs = nowMs
    // The rest of its last sector is zeroed on the disk too when the file grows again.
    if (bytes < this.#durableBytes) this.#dirty.add(Math.floor(bytes / sectorBytes))
  }

  /** All of it is on the disk, but for what an earlier sync lost. */
  sync(): void {
    for (const sector of this.#dirty) this.#keep(sector)
    this.#dirty.clear()
    this.#durableBytes = this.#liveBytes
  }

  /** What a sync that failed leaves: sectors that count as clean and are not on the disk, and perhaps not in memory either. */
  syncFails(dice: Dice): void {
    if (dice.oneIn(4)) return
    const all = dice.oneIn(2)
    const forgotten = dice.oneIn(3)
    for (const sector of this.#dirty) {
      if (!all && dice.oneIn(2)) {
        this.#keep(sector)
      } else if (forgotten) {
        const from = sector * sectorBytes
        this.#durable = grown(this.#durable, from + sectorBytes)
        this.#durable.copy(this.#live, from, from, Math.min(from + sectorBytes, this.#live.length))
      }
    }
    this.#dirty.clear()
    if (dice.oneIn(2)) this.#durableBytes = this.#liveBytes
  }

  /** The power goes and comes back. */
  loseUnsynced(dice: Dice): void {
    const grew = this.#liveBytes - this.#durableBytes
    switch (this.synced ? 'nothing' : dice.pick(['nothing', 'everything', 'prefix', 'sectors', 'zeros'])) {
      case 'everything':
        this.sync()
        break
      case 'prefix': {
        const bytes = grew > 0 ? this.#durableBytes + dice.between(0, grew) : this.#liveBytes
        this.sync()
        this.#durableBytes = bytes
        this.#durable.fill(0, bytes)
        break
      }
      case 'sectors': {
        const bytes = dice.pick([
          this.#liveBytes,
          this.#liveBytes,
          this.#durableBytes,
          this.#durableBytes + dice.between(0, Math.max(0, grew))
        ])
        for (const sector of this.#dirty) if (dice.oneIn(2)) this.#keep(sector)
        this.#durableBytes = bytes
        break
      }
      case 'zeros':
        this.#durableBytes = this.#liveBytes
        break
      case 'nothing':
    }
    this.#dirty.clear()
    this.#durable = grown(this.#durable, this.#durableBytes)
    // What lies behind the end of a file is never seen again.
    this.#durable.fill(0, this.#durableBytes)
    this.#live = Buffer.from(this.#durable)
    this.#liveBytes = this.#durableBytes
  }

  #keep(sector: number): void {
    const from = sector * sectorBytes
    this.#durable = grown(this.#durable, from + sectorBytes)
    this.#live = grown(this.#live, from + sectorBytes)
    this.#live.copy(this.#durable, from, from, from + sectorBytes)
  }
}

function grown(bytes: Buffer, length: number): Buffer {
  if (bytes.length >= length) return bytes
  const larger = Buffer.alloc(Math.max(length, 2 * bytes.length, 4096))
  bytes.copy(larger)
  return larger
}
