import { messageBytes, remainingSeconds } from './message.ts'
import type { Message } from './message.ts'
import { RetainedCursor } from './retained-cursor.ts'
import { Sweep } from './sweep.ts'

/** A level of a retained message's topic. Of two children of a node the older one has the lower number, and comes first. */
export interface RetainedNode {
  readonly number: number
  readonly name: string
  readonly children: Map<string, RetainedNode>
  message: Message | undefined
}

export interface RetainedOptions {
  /** Messages kept at most, and their bytes. */
  readonly messages: number
  readonly bytes: number
  /** Clock that is never set, in ms. */
  readonly now: () => number
}

/** Messages by topic name, found by topic filter without looking at topics that cannot match. */
export class RetainedMessages {
  readonly #options: RetainedOptions
  readonly #root: RetainedNode = { number: 0, name: '', children: new Map(), message: undefined }
  readonly #expiring = new Sweep<string>()
  #nodes = 0
  #size = 0
  #bytes = 0

  constructor(options: RetainedOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#bytes
  }

  /**
   * Keeps the message as the one of its topic. False when the limits leave no room for it: then its topic has none, since
   * the older one is not what was said last.
   */
  set(message: Message): boolean {
    const { topic } = message
    const levels = topic.split('/')
    const older = this.#find(levels)?.message
    const bytes = messageBytes(message)
    const { messages, bytes: maxBytes } = this.#options
    const olderBytes = older === undefined ? 0 : messageBytes(older)
    if ((older === undefined && this.#size >= messages) || this.#bytes - olderBytes + bytes > maxBytes) {
      this.delete(topic)
      return false
    }
    let node = this.#root
    for (const level of levels) {
      let child = node.children.get(level)
      if (child === undefined) {
        this.#nodes += 1
        child = { number: this.#nodes, name: level, children: new Map(), message: undefined }
        node.children.set(level, child)
      }
      node = child
    }
    node.message = message
    if (older === undefined) this.#size += 1
    this.#bytes += bytes - olderBytes
    if (message.expiry === undefined) this.#expiring.delete(topic)
    else this.#expiring.add(topic)
    return true
  }

  delete(topic: string): void {
    const deleted = deleteBelow(this.#root, topic.split('/'), 0)
    if (deleted === undefined) return
    this.#expiring.delete(topic)
    this.#size -= 1
    this.#bytes -= messageBytes(deleted)
  }

  /** The message of this topic; one that has expired is gone [MQTT-3.3.2-5]. */
  get(topic: string): Message | undefined {
    const message = this.#find(topic.split('/'))?.message
    if (message === undefined || remainingSeconds(message, this.#options.now()) !== 0) return message
    this.delete(topic)
    return undefined
  }

  /** Finds the messages whose topics match the filter, step by step. */
  scan(filter: string): RetainedCursor {
    return new RetainedCursor(this.#root, filter)
  }

  /** All messages, as they are while iterated; there are none below `$`. */
  *[Symbol.iterator](): Generator<Message> {
    const cursor = this.scan('#')
    while (!cursor.done) {
      const message = cursor.step()
      if (message !== undefined) yield message
    }
  }

  /** Looks at so many messages that may have expired, and goes on there the next time. */
  expire(count: number): void {
    this.#expiring.visit(count, topic => this.get(topic))
  }

  #find(levels: readonly string[]): RetainedNode | undefined {
    let node: RetainedNode | undefined = this.#root
    for (const level of levels) node = node?.children.get(level)
    return node
  }
}

function deleteBelow(node: RetainedNode, levels: readonly string[], index: number): Message | undefined {
  const level = levels[index]
  if (level === undefined) {
    const had = node.message
    node.message = undefined
    return had
  }
  const child = node.children.get(level)
  if (child === undefined) return undefined
  const deleted = deleteBelow(child, levels, index + 1)
  if (child.message === undefined && child.children.size === 0) node.children.delete(level)
  return deleted
}
