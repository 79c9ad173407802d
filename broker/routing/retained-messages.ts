interface Node<T> {
  readonly children: Map<string, Node<T>>
  message: T | undefined
}

/** How many messages are kept, and how many bytes. */
export interface RetainedLimits {
  readonly messages: number
  readonly bytes: number
}

/** Messages by topic name, found by topic filter without looking at topics that cannot match. */
export class RetainedMessages<T> {
  readonly #root: Node<T> = { children: new Map(), message: undefined }
  readonly #limits: RetainedLimits
  readonly #bytesOf: (message: T) => number
  #size = 0
  #bytes = 0

  constructor(limits: RetainedLimits, bytesOf: (message: T) => number) {
    this.#limits = limits
    this.#bytesOf = bytesOf
  }

  get size(): number {
    return this.#size
  }

  /**
   * Keeps the message as the one of its topic. False when the limits leave no room for it: then its topic has none, since
   * the older one is not what was said last.
   */
  set(topic: string, message: T): boolean {
    this.delete(topic)
    const bytes = this.#bytesOf(message)
    if (this.#size >= this.#limits.messages || this.#bytes + bytes > this.#limits.bytes) return false
    const levels = topic.split('/')
    let node = this.#root
    for (const level of levels) {
      let child = node.children.get(level)
      if (child === undefined) {
        child = { children: new Map(), message: undefined }
        node.children.set(level, child)
      }
      node = child
    }
    node.message = message
    this.#size += 1
    this.#bytes += bytes
    return true
  }

  delete(topic: string): void {
    const deleted = this.#deleteBelow(this.#root, topic.split('/'), 0)
    if (deleted === undefined) return
    this.#size -= 1
    this.#bytes -= this.#bytesOf(deleted)
  }

  /** Messages whose topics match the filter. Walks the tree as it is while iterated. */
  *match(filter: string): Generator<T> {
    yield* this.#matchBelow(this.#root, filter.split('/'), 0)
  }

  *#matchBelow(node: Node<T>, levels: readonly string[], index: number): Generator<T> {
    const level = levels[index]
    if (level === undefined) {
      if (node.message !== undefined) yield node.message
      return
    }
    if (level === '#') {
      if (node.message !== undefined) yield node.message
      for (const [name, child] of node.children)
        if (node !== this.#root || !name.startsWith('$')) yield* this.#matchBelow(child, levels, index)
      return
    }
    if (level === '+') {
      for (const [name, child] of node.children)
        if (node !== this.#root || !name.startsWith('$')) yield* this.#matchBelow(child, levels, index + 1)
      return
    }
    const child = node.children.get(level)
    if (child !== undefined) yield* this.#matchBelow(child, levels, index + 1)
  }

  #deleteBelow(node: Node<T>, levels: readonly string[], index: number): T | undefined {
    const level = levels[index]
    if (level === undefined) {
      const had = node.message
      node.message = undefined
      return had
    }
    const child = node.children.get(level)
    if (child === undefined) return undefined
    const deleted = this.#deleteBelow(child, levels, index + 1)
    if (child.message === undefined && child.children.size === 0) node.children.delete(level)
    return deleted
  }
}
