import { utf8 } from './byte-views.ts'
import type { Router } from './routing/router.ts'

const rememberedTopics = 4
/** Bits of an answer: known and wanted, for QoS 0 and, two bits higher, for QoS 1 and 2. */
const known = 1
const wanted = 2

/**
 * Whether anyone subscribes to what one connection publishes. A device publishes to few topics: the answers for its last
 * ones are kept until any subscription changes, so that what nobody wants costs no string while others are subscribed.
 */
export class TopicInterest {
  readonly #topics: Uint8Array[] = []
  readonly #answers: number[] = []
  #generation = -1
  #next = 0

  /** Answers what the router does. */
  wants(router: Pick<Router, 'subscriptionsGeneration' | 'wants'>, topic: Uint8Array, qos: 0 | 1 | 2): boolean {
    if (router.subscriptionsGeneration !== this.#generation) {
      this.#generation = router.subscriptionsGeneration
      this.#answers.fill(0)
    }
    const index = this.#indexOf(topic)
    const shift = qos === 0 ? 0 : 2
    const answer = (this.#answers[index] ?? 0) >> shift
    if ((answer & known) !== 0) return (answer & wanted) !== 0
    const isWanted = router.wants(utf8(topic), qos)
    this.#answers[index] = (this.#answers[index] ?? 0) | ((known | (isWanted ? wanted : 0)) << shift)
    return isWanted
  }

  #indexOf(topic: Uint8Array): number {
    const topics = this.#topics
    for (let index = 0; index < topics.length; index++) {
      const candidate = topics[index]
      if (candidate !== undefined && isSame(candidate, topic)) return index
    }
    const index = this.#next
    this.#next = (index + 1) % rememberedTopics
    topics[index] = new Uint8Array(topic)
    this.#answers[index] = 0
    return index
  }
}

/** From the end, where the topics of one device differ. */
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false
  for (let at = one.length - 1; at >= 0; at--) if (one[at] !== other[at]) return false
  return true
}
