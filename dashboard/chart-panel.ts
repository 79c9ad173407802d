import type { SeriesKey } from './api.ts'
import { loadLatest, loadPoints, numbersOf } from './api.ts'
import type { Chart } from './chart.ts'
import { setText } from './device-cards.ts'
import { compareFields } from './field-order.ts'
import { decimalsOf, formatAge, formatClock, formatValue } from './format.ts'
import { PointSeries } from './point-series.ts'
import type { Item } from './readings.ts'
import { tagsKey } from './readings.ts'

/** Points in the chart at most; when live ones fill it, the range is loaded anew as means. */
const pointLimit = 4000
const reloadPauseMs = 5000
/** Series of one device to choose from at most. */
const optionLimit = 300

export interface PanelElements {
  readonly panel: HTMLElement
  readonly title: HTMLElement
  readonly value: HTMLElement
  readonly note: HTMLElement
  /** Around the two choices. */
  readonly controls: HTMLElement
  readonly field: HTMLSelectElement
  readonly range: HTMLSelectElement
  readonly chart: HTMLElement
}

/** What is plotted, for tests: times in ms since 1970 and their values. */
export interface PlottedSeries extends SeriesKey {
  /** False while the loaded part is means over time. */
  readonly raw: boolean
  readonly timesMs: readonly number[]
  readonly values: readonly number[]
}

/** The large chart: one field of the chosen device over the chosen range, going on live. */
export class ChartPanel {
  readonly #elements: PanelElements
  readonly #chart: Chart
  #device = ''
  /** The device's numeric series, by the key of their option. */
  readonly #options = new Map<string, SeriesKey>()
  #chosen: string | undefined
  #points = new PointSeries(pointLimit)
  #raw = true
  /** Counts loads, so that an answer to an earlier question is dropped. */
  #load = 0
  #loadedAtMs = 0
  /** True until it is known what the chosen device, or the chosen range, has. */
  #loading = false
  /** Live points that came while a load was on its way. */
  #meanwhile: { readonly timeMs: number; readonly value: number }[] | undefined

  constructor(elements: PanelElements, chart: Chart) {
    this.#elements = elements
    this.#chart = chart
    chart.onHover = () => this.#drawReading(Date.now())
    elements.field.addEventListener('change', () => this.#choose(elements.field.value))
    elements.range.addEventListener('change', () => void this.reload())
  }

  get device(): string {
    return this.#device
  }

  get plotted(): PlottedSeries | undefined {
    const series = this.#series()
    return series && { ...series, raw: this.#raw, timesMs: [...this.#points.timesMs], values: [...this.#points.values] }
  }

  /** Charts a device: the field chosen before if it has one of that name, else its first number. */
  async show(device: string): Promise<void> {
    const before = this.#series()?.field
    this.#device = device
    this.#options.clear()
    this.#chosen = undefined
    this.#points = new PointSeries(pointLimit)
    this.#elements.panel.hidden = false
    this.#elements.field.replaceChildren()
    this.#loading = true
    setText(this.#elements.title, device)
    this.#elements.title.title = device
    const items = await loadLatest(device).catch(() => [])
    if (device !== this.#device) return
    this.#loading = false
    for (const item of items) this.#learn(item)
    const keys = [...this.#options].toSorted(([, a], [, b]) => compareFields(a.field, b.field))
    const wanted = keys.find(([, series]) => series.field === before) ?? keys[0]
    if (wanted !== undefined) this.#choose(wanted[0])
  }

  take(item: Item): void {
    if (item.device !== this.#device) return
    this.#learn(item)
    const series = this.#series()
    if (series === undefined || series.measurement !== item.measurement || tagsKey(series.tags) !== tagsKey(item.tags)) return
    for (const point of numbersOf(item, series.field)) {
      this.#points.add(point.timeMs, point.value)
      if (this.#meanwhile !== undefined && this.#meanwhile.length < pointLimit) this.#meanwhile.push(point)
    }
  }

  /** Loads the range anew; live points that come meanwhile are kept. */
  async reload(): Promise<void> {
    const series = this.#series()
    if (series === undefined) return
    const load = ++this.#load
    this.#loadedAtMs = performance.now()
    this.#meanwhile = []
    this.#loading = this.#points.timesMs.length === 0
    const loaded = await loadPoints(series, Number(this.#elements.range.value)).catch(() => undefined)
    if (load !== this.#load) return
    const meanwhile = this.#meanwhile ?? []
    this.#meanwhile = undefined
    this.#loading = false
    if (loaded === undefined) return
    this.#points = new PointSeries(pointLimit)
    this.#raw = loaded.raw
    for (const point of [...loaded.points, ...meanwhile]) this.#points.add(point.timeMs, point.value)
  }

  draw(nowMs: number): void {
    const series = this.#series()
    const { controls, chart } = this.#elements
    controls.hidden = chart.hidden = series === undefined
    this.#drawReading(nowMs)
    if (series === undefined) {
      this.#chart.clear()
      return
    }
    if (this.#points.overflowed && performance.now() - this.#loadedAtMs > reloadPauseMs) void this.reload()
    const rangeMs = Number(this.#elements.range.value) * 60_000
    const { timesMs, values } = this.#points
    const lastMs = timesMs.at(-1)
    const toMs = Math.max(nowMs, lastMs ?? 0)
    this.#points.trim(toMs - rangeMs)
    // young series fill the chart instead of its right edge
    const fromMs = Math.max(toMs - rangeMs, Math.min(timesMs[0] ?? toMs, toMs - 30_000))
    const last = values.at(-1)
    chart.setAttribute(
      'aria-label',
      `${series.field} of ${series.device}: ${last === undefined ? 'no readings' : `now ${formatValue(last)}`}`
    )
    this.#chart.show({ timesMs: this.#points.timesMs, values: this.#points.values, fromMs, toMs, label: this.#chosen ?? '' })
  }

  /** The point under the pointer, else the newest one. */
  #drawReading(nowMs: number): void {
    const { value, note } = this.#elements
    const { timesMs, values } = this.#points
    const series = this.#series()
    const hovered = this.#chart.hovered
    const at = hovered ?? timesMs.length - 1
    const timeMs = timesMs[at]
    const point = values[at]
    const shown = series !== undefined && timeMs !== undefined && point !== undefined
    setText(value, shown ? formatValue(point, Math.max(...values.slice(-30).map(decimalsOf))) : '–')
    if (!shown) {
      setText(note, this.#loading ? 'loading' : series === undefined ? 'This device sends no numbers.' : 'no readings in this range')
      return
    }
    const when = hovered === undefined ? formatAge(nowMs - timeMs) : `at ${formatClock(timeMs, nowMs)}`
    setText(note, `${labelOf(series)} · ${when}${this.#raw ? '' : ' · means'}`)
  }

  #series(): SeriesKey | undefined {
    return this.#chosen === undefined ? undefined : this.#options.get(this.#chosen)
  }

  #choose(key: string): void {
    this.#chosen = key
    this.#elements.field.value = key
    this.#points = new PointSeries(pointLimit)
    void this.reload()
  }

  #learn({ device, measurement, tags, fields }: Item): void {
    for (const [field, value] of fields) {
      if (typeof value !== 'number') continue
      const key = JSON.stringify([device, measurement, tagsKey(tags), field])
      if (this.#options.has(key) || this.#options.size >= optionLimit) continue
      this.#options.set(key, { device, measurement, tags, field })
      const option = document.createElement('option')
      option.value = key
      this.#elements.field.append(option)
      this.#label()
      // a device that had nothing to chart when it was chosen
      if (this.#chosen === undefined && field !== 'seq') queueMicrotask(() => this.#chosen === undefined && this.#choose(key))
    }
  }

  /** Names the options by their field, and by measurement and tags where several have the same. */
  #label(): void {
    const all = [...this.#options.values()]
    for (const option of this.#elements.field.options) {
      const series = this.#options.get(option.value)
      if (series === undefined) continue
      const alone = all.filter(other => other.field === series.field).length === 1
      setText(option, alone ? series.field : labelOf(series))
    }
  }
}

function labelOf({ measurement, tags, field }: SeriesKey): string {
  return [measurement, ...Object.entries(tags).map(([name, value]) => `${name}=${value}`), field].join(' · ')
}
