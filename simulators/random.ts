import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/**
 * Values that a seed fixes at any place: everything here is a function of a seed and a position, with no state that
 * matters. A reading can therefore be made again, alone and in any order, which is how verification does without keeping
 * what was sent.
 */

/** A 32-bit seed made from another one and a path of names or numbers; neighbours share no pattern. */
export function seedOf(seed: number, ...path: readonly (string | number)[]): number {
  let hash = mix(seed)
  for (const part of path) {
    if (typeof part === 'number') hash = mix(hash ^ Math.imul(part + 1, 0x9e3779b1))
    else for (let index = 0; index < part.length; index++) hash = Math.imul(hash ^ part.charCodeAt(index), 0x01000193)
    hash = mix(hash)
  }
  return hash
}

/** A number in [0, 1) for a seed. */
export function uniformAt(seed: number): number {
  return uniformFloat64(xoroshiro128plus(seed))
}

/** A number in [0, 1) for each cell of a seed. */
export function cellAt(seed: number, cell: number): number {
  return uniformAt(seedOf(seed, cell))
}

/** A smooth curve through one random value in [−1, 1] every `period` steps. */
export function smoothNoise(seed: number, period: number): (step: number) => number {
  // The ends of the current cell are kept, since steps usually come in order: 1 generator in `period` steps, not 2 a step.
  let cell = Number.NaN
  let left = 0
  let right = 0
  return step => {
    const at = Math.floor(step / period)
    if (at !== cell) {
      left = at === cell + 1 ? right : cellAt(seed, at) * 2 - 1
      right = cellAt(seed, at + 1) * 2 - 1
      cell = at
    }
    const part = step / period - at
    return left + (right - left) * part * part * (3 - 2 * part)
  }
}

/** What looks like a random walk that never leaves [−1, 1]: slow, middle and fast noise; `period` is the slow one's. */
export function walk(seed: number, period: number): (step: number) => number {
  const slow = smoothNoise(seedOf(seed, 'slow'), period)
  const middle = smoothNoise(seedOf(seed, 'middle'), Math.max(1.5, period / 6))
  const fast = smoothNoise(seedOf(seed, 'fast'), Math.max(1, period / 30))
  return step => (slow(step) + 0.35 * middle(step) + 0.12 * fast(step)) / 1.47
}

function mix(value: number): number {
  let hash = value | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) | 0
}
