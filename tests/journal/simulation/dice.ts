import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** Chance that a seed fixes: the same seed and the same questions give the same answers. */
export class Dice {
  readonly #generator: ReturnType<typeof xoroshiro128plus>

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed)
  }

  /** True once in so many times. */
  oneIn(times: number): boolean {
    return this.between(1, times) === 1
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + Math.floor(uniformFloat64(this.#generator) * (to - from + 1))
  }

  pick<Item>(items: readonly [Item, ...Item[]]): Item {
    return items[this.between(0, items.length - 1)] ?? items[0]
  }
}
