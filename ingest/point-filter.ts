import type { Point, Source } from '../telemetry.ts'

/** 4 MiB: 7 million points, a gigabyte of journal, make one in ten of the others look like one of them. */
const bits = 2 ** 25
const probes = 4

/**
 * Remembers points by source and time in a fixed space (a Bloom filter): one that was added is always found; another one is
 * found too at times, the more often the more were added.
 */
export class PointFilter {
  readonly #words = new Uint32Array(bits / 32)
  readonly #hashes = new WeakMap<Source, number>()
  empty = true

  add(point: Point): void {
    this.empty = false
    const { first, step } = this.#place(point)
    for (let probe = 0, at = first; probe < probes; probe += 1, at = (at + step) >>> 0) {
      this.#words[(at % bits) >>> 5] = (this.#words[(at % bits) >>> 5] ?? 0) | (1 << (at & 31))
    }
  }

  mayHave(point: Point): boolean {
    if (this.empty) return false
    const { first, step } = this.#place(point)
    for (let probe = 0, at = first; probe < probes; probe += 1, at = (at + step) >>> 0) {
      if (((this.#words[(at % bits) >>> 5] ?? 0) & (1 << (at & 31))) === 0) return false
    }
    return true
  }

  #place({ source, timeNs }: Point): { readonly first: number; readonly step: number } {
    let hash = this.#hashes.get(source)
    if (hash === undefined) this.#hashes.set(source, (hash = hashOf(source.key)))
    const low = Number(BigInt.asUintN(32, timeNs))
    const high = Number(BigInt.asUintN(32, timeNs >> 32n))
    const first = mix(mix(hash ^ low) ^ high)
    // Odd, so that the probes are different bits.
    return { first, step: (mix(first ^ hash) | 1) >>> 0 }
  }
}

/** FNV-1a of the characters. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return mix(hash)
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the answer. */
function mix(value: number): number {
  let mixed = value
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
