/** Things that may be over, looked at in rounds of a few at a time, so that no turn of the event loop takes long. */
export class Sweep<T> {
  readonly #items = new Set<T>()
  #round = this.#items.values()

  add(item: T): void {
    this.#items.add(item)
  }

  delete(item: T): void {
    this.#items.delete(item)
  }

  /** Visits so many at most, going on where the last call ended. Items may be added and deleted meanwhile. */
  visit(count: number, visit: (item: T) => void): void {
    for (let visited = 0; visited < count && this.#items.size > 0; visited++) {
      const next = this.#round.next()
      if (next.done === true) {
        this.#round = this.#items.values()
        return
      }
      visit(next.value)
    }
  }
}
