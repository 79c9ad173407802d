interface Node<T> {
  readonly children: Map<string, Node<T>>
  message: T | undefined
}

/** Messages by topic name, found by topic filter without looking at topics that cannot match. */
export class RetainedMessages<T> {
  readonly #root: Node<T> = { children: new Map(), message: undefined }
  readonly #limit: number
  #size = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get size(): number {
    return this.#size
  }

  /** Keeps the message as the one of its topic. False when the topic is new and there are as many as the limit allows. */
  set(topic: string, message: T): boolean {
    const levels = topic.split('/')
    if (this.#size >= this.#limit && this.#nodeOf(levels)?.message === undefined) return false
    let node = this.#root
    for (const level of levels) {
      let child = node.children.get(level)
      if (child === undefined) {
        child = { children: new Map(), message: undefined }
        node.children.set(level, child)
      }
      node = child
    }
    if (node.message === undefined) this.#size += 1
    node.message = message
    return true
  }

  delete(topic: string): void {
    if (this.#deleteBelow(this.#root, topic.split('/'), 0)) this.#size -= 1
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

  #nodeOf(levels: readonly string[]): Node<T> | undefined {
    let node: Node<T> | undefined = this.#root
    for (const level of levels) node = node?.children.get(level)
    return node
  }

  #deleteBelow(node: Node<T>, levels: readonly string[], index: number): boolean {
    const level = levels[index]
    if (level === undefined) {
      const had = node.message !== undefined
      node.message = undefined
      return had
    }
    const child = node.children.get(level)
    if (child === undefined) return false
    const deleted = this.#deleteBelow(child, levels, index + 1)
    if (child.message === undefined && child.children.size === 0) node.children.delete(level)
    return deleted
  }
}
