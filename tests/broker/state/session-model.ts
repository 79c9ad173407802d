import type { Message } from '../../../broker/routing/message.ts'
import type { Router } from '../../../broker/routing/router.ts'
import type { Session } from '../../../broker/routing/session.ts'
import { check } from '../../journal/simulation/journal-model.ts'
import type { Client } from './client.ts'

/** A SUBSCRIBE: `answered` once its SUBACK came, `over` once it was replaced, unsubscribed or its session ended. */
export interface Subscribed {
  readonly filter: string
  readonly qos: 0 | 1 | 2
  answered: boolean
  over: boolean
}

interface Owed {
  readonly ordinal: number
  readonly because: readonly Subscribed[]
}

/** What a client was promised. */
export class SessionModel {
  readonly client: Client
  /** Whether CONNACK was sent for the session that is there now; undefined when there is none. */
  session: { answered: boolean } | undefined
  /** The last word on each filter, and whether it was answered. */
  readonly filters = new Map<string, { readonly subscribed: Subscribed | undefined; answered: boolean }>()
  owed: Owed[] = []

  constructor(client: Client) {
    this.client = client
  }

  ended(): void {
    for (const { subscribed } of this.filters.values()) if (subscribed !== undefined) subscribed.over = true
    this.session = undefined
    this.filters.clear()
    this.owed = []
    this.client.forget()
  }

  /** The messages that the broker has to keep for the client. */
  due(promised: number): readonly number[] {
    const { acknowledged } = this.client
    return this.owed
      .filter(({ ordinal, because }) => ordinal < promised && because.some(({ answered }) => answered) && !acknowledged.has(ordinal))
      .map(({ ordinal }) => ordinal)
  }

  /** After a start: what was answered is there. Then what is there is what counts. */
  restored(session: Session | undefined, promised: number): void {
    const { id } = this.client
    if (this.session?.answered === true) check(session !== undefined, `the session of ${id} is gone`)
    if (session === undefined) {
      this.ended()
      return
    }
    for (const [filter, { subscribed, answered }] of this.filters) {
      if (!answered) continue
      const found = session.subscriptions.get(filter)?.subscription
      check(found?.qos === subscribed?.qos, `${id} has ${filter} with ${found?.qos}, and was answered ${subscribed?.qos}`)
    }
    this.#checkOwed(session, promised)
    this.#checkReceived(session, promised)
    this.filters.clear()
    for (const { subscription } of session.subscriptions.values()) {
      const { filter, qos } = subscription
      this.filters.set(filter, { subscribed: { filter, qos, answered: true, over: false }, answered: true })
    }
    this.session = { answered: true }
  }

  #checkOwed(session: Session, promised: number): void {
    const { id } = this.client
    const listed = [...session.deliveries].filter(({ kept }) => !kept.retained)
    const kept = new Set(listed.map(({ kept }) => kept.ordinal))
    for (const ordinal of this.due(promised)) check(kept.has(ordinal), `message ${ordinal} is not kept for ${id}`)
    const waiting = listed.filter(({ packetId }) => packetId === 0).map(({ kept }) => kept.ordinal)
    check(
      waiting.every((ordinal, index) => index === 0 || ordinal > (waiting[index - 1] ?? 0)),
      `${id} gets ${waiting.join(' ')}`
    )
    check(new Set(listed.map(({ kept }) => kept.ordinal)).size === listed.length, `${id} gets a message twice: ${[...kept].join(' ')}`)
    this.owed = this.owed
      .filter(({ ordinal }) => kept.has(ordinal))
      .map(({ ordinal }) => ({ ordinal, because: [{ filter: '', qos: 2 as const, answered: true, over: true }] }))
  }

  #checkReceived(session: Session, promised: number): void {
    for (const [packetId, { ordinal, released }] of this.client.published) {
      const known = session.receivedIds.get(packetId)
      if (released === 'completed') check(known === undefined, `packet id ${packetId} of ${this.client.id} is held after its PUBCOMP`)
      else if (released === 'no' && ordinal < promised) check(known === ordinal, `packet id ${packetId} of ${this.client.id} is forgotten`)
      if (known === undefined) this.client.published.delete(packetId)
    }
  }
}

/** The retained messages that were published, by topic: the last that is promised, and what came behind it. */
export class RetainedModel {
  readonly #published = new Map<string, { readonly ordinal: number; readonly number: number }[]>()

  published(topic: string, ordinal: number, number: number): void {
    const list = this.#published.get(topic)
    if (list === undefined) this.#published.set(topic, [{ ordinal, number }])
    else list.push({ ordinal, number })
  }

  /** After a start; numbers are negative where a topic was cleared. */
  restored(router: Router, promised: number, numberOf: (message: Message) => number): void {
    for (const [topic, list] of this.#published) {
      const message = router.retained.get(topic)
      const found = message === undefined ? undefined : numberOf(message)
      const certain = list.findLastIndex(({ ordinal }) => ordinal < promised)
      const possible = list.slice(Math.max(0, certain)).map(({ number }) => (number < 0 ? undefined : number))
      if (certain < 0) possible.push(undefined)
      check(possible.includes(found), `${topic} has retained ${found}, not one of ${possible.join(' ')}`)
      const kept = list.find(({ number }) => number === found) ?? { ordinal: 0, number: -1 }
      this.#published.set(topic, [{ ordinal: Math.min(kept.ordinal, promised - 1), number: kept.number }])
    }
  }
}
