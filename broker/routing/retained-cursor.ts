import type { Message } from './message.ts'
import type { RetainedNode } from './retained-messages.ts'

/** A node whose children are being looked at. */
interface Frame {
  /** Of the level of the filter that its children are held against. */
  readonly index: number
  readonly children: Iterator<RetainedNode, undefined>
  /** Number of the child that was entered last. */
  at: number
}

/**
 * A walk over the retained messages that match a filter, one node a step, while messages come and go: each that is there
 * from the beginning to the end is found once. At any moment it can say whether it has been at a topic, because the
 * children of a node are walked in the order of their numbers.
 */
export class RetainedCursor {
  readonly #root: RetainedNode
  readonly #levels: readonly string[]
  readonly #frames: Frame[] = []

  constructor(root: RetainedNode, filter: string) {
    this.#root = root
    this.#levels = filter.split('/')
    this.#enter(root, 0)
  }

  get done(): boolean {
    return this.#frames.length === 0
  }

  /** Goes to the next node; a message when there is one that matches. */
  step(): Message | undefined {
    const frame = this.#frames.at(-1)
    if (frame === undefined) return undefined
    const child = frame.children.next().value
    if (child === undefined) {
      this.#frames.pop()
      return undefined
    }
    frame.at = child.number
    const level = this.#levels[frame.index]
    // [MQTT-4.7.2-1].
    if (this.#frames.length === 1 && child.name.startsWith('$') && level !== child.name) return undefined
    return this.#enter(child, level === '#' ? frame.index : frame.index + 1)
  }

  /** True when a message of this topic, which matches the filter, would not be found any more. */
  passed(topic: string): boolean {
    let node = this.#root
    const levels = topic.split('/')
    for (let depth = 0; depth < levels.length; depth++) {
      const frame = this.#frames[depth]
      // The walk below this node is over.
      if (frame === undefined) return true
      const child = node.children.get(levels[depth] ?? '')
      if (child === undefined || child.number > frame.at) return false
      if (child.number < frame.at) return true
      node = child
    }
    return true
  }

  /** Walks the node's children next; answers its own message when the filter ends here, or with `#`, which is that level too. */
  #enter(node: RetainedNode, index: number): Message | undefined {
    const level = this.#levels[index]
    if (level !== undefined) this.#frames.push({ index, children: childrenOf(node, level), at: 0 })
    return level === undefined || level === '#' ? node.message : undefined
  }
}

function childrenOf({ children }: RetainedNode, level: string): Iterator<RetainedNode, undefined> {
  if (level === '#' || level === '+') return children.values()
  const child = children.get(level)
  return (child === undefined ? [] : [child]).values()
}
