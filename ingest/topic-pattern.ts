/**
 * Topic patterns: levels as they are, `{name}` for one level, `{name…}` or `{name...}` for one or more, and the wildcards
 * of MQTT: + for one level, # at the end for any number, none included. One part of variable length at most.
 */
type Level =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'one'; readonly name: string | undefined }
  | { readonly kind: 'rest'; readonly name: string | undefined; readonly least: 0 | 1 }

/** Levels of the topic by the name of the segment that they matched. */
export type Captured = ReadonlyMap<string, readonly string[]>

const segment = /^\{([A-Za-z_][A-Za-z0-9_]*)(…|\.\.\.)?\}$/

/** A compiled pattern. Matching is pure. */
export class TopicPattern {
  readonly text: string
  readonly #levels: readonly Level[]
  readonly #rest: number

  /** @throws RangeError that says what is wrong with the pattern; `patternFault` says it without throwing */
  constructor(text: string) {
    const fault = patternFault(text)
    if (fault !== undefined) throw new RangeError(fault)
    this.text = text
    this.#levels = text.split('/').map(parseLevel)
    this.#rest = this.#levels.findIndex(level => level.kind === 'rest')
  }

  /** What the named segments matched in a topic, split at its slashes; undefined when the topic does not match. */
  match(topic: readonly string[]): Captured | undefined {
    const captured = new Map<string, readonly string[]>()
    if (this.#rest === -1) {
      if (topic.length !== this.#levels.length) return undefined
      return matchLevels(this.#levels, topic, captured) ? captured : undefined
    }
    const rest = this.#levels[this.#rest]
    const tail = this.#levels.slice(this.#rest + 1)
    const restEnd = topic.length - tail.length
    if (rest?.kind !== 'rest' || restEnd - this.#rest < rest.least) return undefined
    // [MQTT-4.7.2-1] A wildcard at the first level does not match topics that start with $.
    if (this.#rest === 0 && topic[0]?.startsWith('$') === true) return undefined
    if (!matchLevels(this.#levels.slice(0, this.#rest), topic.slice(0, this.#rest), captured)) return undefined
    if (!matchLevels(tail, topic.slice(restEnd), captured)) return undefined
    if (rest.name !== undefined) captured.set(rest.name, topic.slice(this.#rest, restEnd))
    return captured
  }
}

/** What is wrong with a pattern, as text, or undefined. */
export function patternFault(text: string): string | undefined {
  if (text.length === 0) return 'a topic pattern is empty'
  const names = new Set<string>()
  const levels = text.split('/')
  let variable = 0
  for (const [index, level] of levels.entries()) {
    const match = segment.exec(level)
    if (match?.[1] !== undefined) {
      if (names.has(match[1])) return `the segment {${match[1]}} comes twice`
      names.add(match[1])
      if (match[2] !== undefined) variable += 1
    } else if (level === '#') {
      if (index !== levels.length - 1) return '# is allowed as the last level only'
      variable += 1
    } else if (level !== '+' && /[{}]/.test(level)) {
      return `"${level}" is no segment: {name} fills a whole level, and its name has letters, digits and _ only`
    } else if (level !== '+' && /[+#]/.test(level)) {
      return `"${level}" is no level: + and # fill a whole level`
    }
  }
  return variable > 1 ? 'only one part of a pattern may match several levels' : undefined
}

function parseLevel(text: string): Level {
  if (text === '+') return { kind: 'one', name: undefined }
  if (text === '#') return { kind: 'rest', name: undefined, least: 0 }
  const match = segment.exec(text)
  if (match?.[1] === undefined) return { kind: 'literal', text }
  return match[2] === undefined ? { kind: 'one', name: match[1] } : { kind: 'rest', name: match[1], least: 1 }
}

function matchLevels(pattern: readonly Level[], topic: readonly string[], captured: Map<string, readonly string[]>): boolean {
  for (const [index, level] of pattern.entries()) {
    const text = topic[index]
    if (text === undefined) return false
    if (level.kind === 'literal') {
      if (level.text !== text) return false
    } else if (level.name !== undefined) captured.set(level.name, [text])
  }
  return true
}
