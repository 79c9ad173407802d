interface Node<T> {
  readonly children: Map<string, Node<T>>
  readonly values: Set<T>
}

/**
 * Values by topic filter, found by topic name with the matching of MQTT 3.1.1 §4.7: `+` is one level, `#` the level
 * before it and everything below, and neither at the front matches a topic that begins with `$` [MQTT-4.7.2-1].
 */
export class SubscriptionTrie<T> {
  readonly #root: Node<T> = { children: new Map(), values: new Set() }
  #size = 0

  /** Pairs of filter and value. */
  get size(): number {
    return this.#size
  }

  add(filter: string, value: T): void {
    let node = this.#root
    for (const level of filter.split('/')) {
      let child = node.children.get(level)
      if (child === undefined) {
        child = { children: new Map(), values: new Set() }
        node.children.set(level, child)
      }
      node = child
    }
    if (node.values.has(value)) return
    node.values.add(value)
    this.#size += 1
  }

  remove(filter: string, value: T): void {
    if (this.#removeBelow(this.#root, filter.split('/'), 0, value)) this.#size -= 1
  }

  /** True when any filter matches. */
  matches(topic: string): boolean {
    return this.#size > 0 && this.#visit(this.#root, topic.split('/'), 0, undefined)
  }

  /** Adds the values of all filters that match to the list: a value once for each of its filters. */
  match(topic: string, found: T[]): void {
    if (this.#size > 0) this.#visit(this.#root, topic.split('/'), 0, found)
  }

  /** Without `found` it stops at the first match. */
  #visit(node: Node<T>, levels: readonly string[], index: number, found: T[] | undefined): boolean {
    const wildcards = index > 0 || !(levels[0] ?? '').startsWith('$')
    let any = wildcards && take(node.children.get('#'), found)
    if (any && found === undefined) return true
    const level = levels[index]
    if (level === undefined) return take(node, found) || any
    const child = node.children.get(level)
    if (child !== undefined && this.#visit(child, levels, index + 1, found)) any = true
    if (any && found === undefined) return true
    const one = wildcards ? node.children.get('+') : undefined
    return (one !== undefined && this.#visit(one, levels, index + 1, found)) || any
  }

  #removeBelow(node: Node<T>, levels: readonly string[], index: number, value: T): boolean {
    const level = levels[index]
    if (level === undefined) return node.values.delete(value)
    const child = node.children.get(level)
    if (child === undefined) return false
    const removed = this.#removeBelow(child, levels, index + 1, value)
    if (child.values.size === 0 && child.children.size === 0) node.children.delete(level)
    return removed
  }
}

function take<T>(node: Node<T> | undefined, found: T[] | undefined): boolean {
  if (node === undefined || node.values.size === 0) return false
  if (found !== undefined) for (const value of node.values) found.push(value)
  return true
}
