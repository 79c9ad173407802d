import type { Captured } from '../topic-pattern.ts'

/** Where the readings of a topic go, as a dialect or a user's route says. */
export interface TopicMeaning {
  readonly measurement: string
  /** Of objects, and of plain values unless scalarDevice says otherwise; undefined is the client id. */
  readonly device: string | undefined
  readonly tags?: readonly (readonly [string, string])[]
  /** Field of a plain value; `value` by default. */
  readonly scalarField?: string | undefined
  /** Device of a plain value, where it differs from that of an object. */
  readonly scalarDevice?: { readonly device: string | undefined }
  /** Before the fields of an object, with an underscore after it. */
  readonly prefix?: string | undefined
  /** Keys of an object that are neither fields nor the time. */
  readonly omit?: readonly string[]
  /** An object with a plain value under this key means that value alone. */
  readonly scalarKey?: string
}

/** How a kind of device speaks: one pattern of topics and what they mean. */
export interface Dialect {
  readonly pattern: string
  /** What a topic that matches means; its records are ignored when that is undefined. */
  readonly meaning: (captured: Captured, topic: string) => TopicMeaning | undefined
}

export function ignored(pattern: string): Dialect {
  return { pattern, meaning: () => undefined }
}

/** The levels that a segment matched, joined; empty when the pattern has no such segment. */
export function levelsOf(captured: Captured, name: string, separator = '/'): string {
  return (captured.get(name) ?? []).join(separator)
}
