import { compareFields } from './field-order.ts'
import { decimalsOf, formatAge, formatValue } from './format.ts'
import type { DeviceEntry, FieldValue, Item } from './readings.ts'
import { deviceLimit } from './api.ts'
import { PointSeries } from './point-series.ts'
import { drawSpark } from './spark.ts'

/** Cards drawn at most; more devices are found by searching. */
const cardLimit = 120
/** Fields remembered of a device, and those on its card. */
const fieldLimit = 200
const fieldsShown = 4
const sparkPoints = 60
const latelyMs = 30_000

interface Field {
  value: FieldValue
  timeMs: number
  /** The most that a value of it had. */
  decimals: number
}

interface Known {
  readonly device: string
  online: boolean | null
  lastMs: number
  readonly fields: Map<string, Field>
  /** The field that the small line shows, and its newest values. */
  sparkField: string | undefined
  readonly spark: PointSeries
  changed: boolean
  fresh: boolean
  card: Card | undefined
}

interface Card {
  readonly item: HTMLLIElement
  readonly button: HTMLButtonElement
  readonly online: HTMLSpanElement
  readonly age: HTMLSpanElement
  readonly fields: HTMLSpanElement
  readonly spark: HTMLCanvasElement
}

/** The devices with their newest values, drawn as cards. Names come from outside and are only ever text. */
export class DeviceCards {
  readonly #list: HTMLUListElement
  readonly #choose: (device: string) => void
  readonly #known = new Map<string, Known>()
  #search = ''
  #chosen = ''
  #listChanged = true
  #found = 0

  constructor(list: HTMLUListElement, choose: (device: string) => void) {
    this.#list = list
    this.#choose = choose
  }

  get count(): number {
    return this.#known.size
  }

  /** How many devices match the search, and how many of them have no card. */
  get found(): { readonly matching: number; readonly hidden: number } {
    return { matching: this.#found, hidden: Math.max(0, this.#found - cardLimit) }
  }

  search(text: string): void {
    this.#search = text.trim().toLowerCase()
    this.#listChanged = true
  }

  mark(device: string): void {
    for (const name of [this.#chosen, device]) {
      const known = this.#known.get(name)
      if (known !== undefined) known.changed = true
    }
    this.#chosen = device
  }

  seen({ device, online, lastSeenMs }: DeviceEntry): void {
    const known = this.#get(device)
    if (known === undefined) return
    if (known.online !== online || known.lastMs < lastSeenMs) known.changed = true
    known.online = online
    known.lastMs = Math.max(known.lastMs, lastSeenMs)
  }

  /** Takes a reading; `live` ones make the card light up. */
  take({ device, timeMs, fields }: Item, live: boolean): void {
    const known = this.#get(device)
    if (known === undefined) return
    known.changed = true
    if (live) known.fresh = true
    known.lastMs = Math.max(known.lastMs, timeMs)
    for (const [name, value] of fields) {
      const field = known.fields.get(name)
      if (field === undefined) {
        if (known.fields.size < fieldLimit) known.fields.set(name, { value, timeMs, decimals: decimalsOf(value) })
      } else if (field.timeMs <= timeMs) {
        field.value = value
        field.timeMs = timeMs
        field.decimals = Math.max(field.decimals, decimalsOf(value))
      }
    }
    known.sparkField ??= fields
      .filter(([, value]) => typeof value === 'number')
      .map(([name]) => name)
      .toSorted(compareFields)[0]
    const value = fields.find(([name]) => name === known.sparkField)?.[1]
    // live readings may come before the recent ones are loaded
    if (typeof value === 'number') known.spark.add(timeMs, value)
  }

  /** Devices without any value yet, among those with a card. */
  withoutValues(): readonly string[] {
    return [...this.#known.values()].filter(known => known.card !== undefined && known.fields.size === 0).map(known => known.device)
  }

  /** The first device by name with a number among its values, of those heard lately if there are any. */
  firstNumeric(nowMs: number): string | undefined {
    const numeric = [...this.#known.values()]
      .filter(({ fields }) => [...fields].some(([field, { value }]) => typeof value === 'number' && field !== 'seq'))
      .toSorted((a, b) => (a.device < b.device ? -1 : 1))
    return (numeric.find(({ lastMs }) => nowMs - lastMs < latelyMs) ?? numeric[0])?.device
  }

  /** Draws what changed. Cheap to call when nothing did. */
  draw(nowMs: number, inkOf: HTMLElement): void {
    if (this.#listChanged) this.#arrange()
    const ink = getComputedStyle(inkOf).getPropertyValue('--accent').trim()
    for (const known of this.#known.values()) {
      const { card } = known
      if (card === undefined) continue
      setText(card.age, known.lastMs === 0 ? '' : formatAge(nowMs - known.lastMs))
      if (!known.changed) {
        card.button.classList.remove('fresh')
        continue
      }
      this.#fill(known, card, ink)
      card.button.classList.toggle('fresh', known.fresh)
      known.changed = false
      known.fresh = false
    }
  }

  #get(device: string): Known | undefined {
    const known = this.#known.get(device)
    if (known !== undefined) return known
    if (this.#known.size >= deviceLimit) return undefined
    const added: Known = {
      device,
      online: null,
      lastMs: 0,
      fields: new Map(),
      sparkField: undefined,
      spark: new PointSeries(sparkPoints),
      changed: true,
      fresh: false,
      card: undefined
    }
    this.#known.set(device, added)
    this.#listChanged = true
    return added
  }

  #arrange(): void {
    this.#listChanged = false
    const matching = [...this.#known.keys()].filter(name => name.toLowerCase().includes(this.#search)).toSorted()
    this.#found = matching.length
    const shown = new Set(matching.slice(0, cardLimit))
    for (const known of this.#known.values()) {
      if (shown.has(known.device)) continue
      known.card?.item.remove()
      known.card = undefined
    }
    let before: Element | null = this.#list.firstElementChild
    for (const name of shown) {
      const known = this.#known.get(name)
      if (known === undefined) continue
      if (known.card === undefined) {
        known.card = this.#buildCard(known)
        known.changed = true
      }
      // what is in its place already is not moved, so that the keyboard's focus stays
      if (known.card.item === before) before = before.nextElementSibling
      else this.#list.insertBefore(known.card.item, before)
    }
  }

  #buildCard({ device }: Known): Card {
    const item = document.createElement('li')
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'card'
    button.dataset['testid'] = 'device'
    button.dataset['device'] = device
    const head = span('card-head')
    const online = span('online')
    online.setAttribute('role', 'img')
    const name = span('name')
    name.textContent = device
    name.title = device
    const age = span('age')
    head.append(online, name, age)
    const fields = span('fields')
    const spark = document.createElement('canvas')
    spark.className = 'spark'
    spark.setAttribute('aria-hidden', 'true')
    button.append(head, fields, spark)
    button.addEventListener('click', () => this.#choose(device))
    item.append(button)
    return { item, button, online, age, fields, spark }
  }

  #fill(known: Known, card: Card, ink: string): void {
    card.button.setAttribute('aria-pressed', String(known.device === this.#chosen))
    const online = known.online === null ? 'unknown' : String(known.online)
    if (card.online.dataset['online'] !== online) {
      card.online.dataset['online'] = online
      const label = known.online === null ? 'connection unknown' : known.online ? 'online' : 'offline'
      card.online.setAttribute('aria-label', label)
      card.online.title = label
    }
    const names = [...known.fields.keys()].filter(name => name !== 'seq').toSorted(compareFields)
    const shown = names.length > fieldsShown ? names.slice(0, fieldsShown - 1) : names
    const cells = shown.flatMap(name => {
      const field = known.fields.get(name)
      return field === undefined ? [] : [name, formatValue(field.value, field.decimals)]
    })
    if (names.length > shown.length) cells.push(`and ${names.length - shown.length} more`, '')
    while (card.fields.childElementCount > cells.length) card.fields.lastElementChild?.remove()
    while (card.fields.childElementCount < cells.length) card.fields.append(document.createElement('span'))
    for (const [index, text] of cells.entries()) {
      const cell = card.fields.children[index]
      if (cell !== undefined) setText(cell, text)
    }
    drawSpark(card.spark, known.spark.values, ink)
  }
}

/** Sets a text only where it differs, so that nothing is laid out anew for nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

function span(className: string): HTMLSpanElement {
  const element = document.createElement('span')
  element.className = className
  return element
}
