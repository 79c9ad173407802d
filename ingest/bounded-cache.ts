/**
 * A map that forgets: it holds at most `capacity` entries that were used lately. Two generations stand for the order of
 * use, so that a hit is one Map lookup and nothing is moved (a true LRU deletes and inserts again at every hit).
 */
export class BoundedCache<Value> {
  readonly #half: number
  #young = new Map<string, Value>()
  #old = new Map<string, Value>()

  constructor(capacity: number) {
    this.#half = Math.max(1, Math.floor(capacity / 2))
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  get(key: string): Value | undefined {
    const hit = this.#young.get(key)
    if (hit !== undefined) return hit
    const aged = this.#old.get(key)
    if (aged === undefined) return undefined
    this.#old.delete(key)
    this.set(key, aged)
    return aged
  }

  set(key: string, value: Value): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }
}
