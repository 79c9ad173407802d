import { endings } from './endings.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { BrokerStatistics } from './statistics.ts'

/** Topic aliases that a client may set, while there is memory for them. */
const aliasesPerConnection = 32
/** What all connections together may hold of topics behind aliases: 16 MiB. */
const totalBytes = 16 * 1024 * 1024
/** What an alias takes besides its topic. */
const overheadBytes = 128

/** What the property takes: a shorter topic is not worth an alias. */
const aliasBytes = 3

/**
 * The topic aliases that one client has set (MQTT 5.0 §3.3.2.3.4). A client that connects while all of them together hold
 * as much as they may is granted none, and does without.
 */
export class IncomingAliases {
  /** What CONNACK grants. */
  readonly maximum: number
  readonly #statistics: BrokerStatistics
  readonly #topics: Buffer[] = []
  #bytes = 0

  constructor(statistics: BrokerStatistics) {
    this.#statistics = statistics
    this.maximum = statistics.topicAliasBytes < totalBytes ? aliasesPerConnection : 0
  }

  /** The topic behind an alias. */
  topicOf(alias: number): Buffer | Fault {
    if (alias > this.maximum) return endings.topicAlias
    return this.#topics[alias] ?? endings.unknownAlias
  }

  /** Sets an alias to the topic that lies there, which is copied when it is another one; the fault when it must not. */
  set(alias: number, buffer: Buffer, start: number, end: number): Fault | undefined {
    if (alias > this.maximum) return endings.topicAlias
    const known = this.#topics[alias]
    if (known !== undefined && known.compare(buffer, start, end) === 0) return undefined
    const added = known === undefined ? end - start + overheadBytes : end - start - known.length
    if (added > 0 && this.#statistics.topicAliasBytes + added > totalBytes) return endings.tooManyAliases
    this.#topics[alias] = Buffer.from(buffer.subarray(start, end))
    this.#account(added)
    return undefined
  }

  /** The connection is over, and its aliases with it [MQTT-3.3.2-7]. */
  close(): void {
    this.#topics.length = 0
    this.#account(-this.#bytes)
  }

  #account(bytes: number): void {
    this.#bytes += bytes
    this.#statistics.topicAliasBytes += bytes
  }
}

/**
 * The topic aliases that the server has set for one client: the first topics get those that there are, since a subscriber
 * has either a few topics or more than any table holds.
 */
export class OutgoingAliases {
  readonly #maximum: number
  readonly #statistics: BrokerStatistics
  readonly #aliases = new Map<string, number>()
  #bytes = 0

  constructor(maximum: number, statistics: BrokerStatistics) {
    this.#maximum = Math.min(maximum, aliasesPerConnection)
    this.#statistics = statistics
  }

  /** The alias of a topic that the client knows, or 0. */
  get(topic: string): number {
    return this.#aliases.size === 0 ? 0 : (this.#aliases.get(topic) ?? 0)
  }

  /** The alias that the topic can have, or 0. */
  next(topic: string): number {
    const free = this.#aliases.size < this.#maximum && topic.length > aliasBytes && this.#statistics.topicAliasBytes < totalBytes
    return free ? this.#aliases.size + 1 : 0
  }

  /** The client was told of the alias that `next` said. */
  set(topic: string): void {
    this.#aliases.set(topic, this.#aliases.size + 1)
    const bytes = topic.length + overheadBytes
    this.#bytes += bytes
    this.#statistics.topicAliasBytes += bytes
  }

  close(): void {
    this.#aliases.clear()
    this.#statistics.topicAliasBytes -= this.#bytes
    this.#bytes = 0
  }
}
