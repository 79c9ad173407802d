/** A small seeded generator (mulberry32): the same seed, the same bytes on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
    // Neighbouring seeds begin alike.
    for (let skipped = 0; skipped < 8; skipped++) this.next()
  }

  /** A whole number below 2³². */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }

  /** 0 … count − 1; 0 when there is nothing to choose from. */
  below(count: number): number {
    return count < 1 ? 0 : Math.floor((this.next() / 0x1_0000_0000) * count)
  }

  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0
  }

  pick<Item>(items: readonly [Item, ...Item[]]): Item {
    return items[this.below(items.length)] ?? items[0]
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at++) bytes[at] = this.next()
    return bytes
  }
}
