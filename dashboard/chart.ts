import type uPlot from 'uplot'
import { formatValue } from './format.ts'

/** What a chart is to show. */
export interface ChartContent {
  readonly timesMs: readonly number[]
  readonly values: readonly number[]
  readonly fromMs: number
  readonly toMs: number
  readonly label: string
}

type Library = typeof uPlot

/** Where the server has the chart library; a variable, since it is no module of this folder. */
const libraryAddress: string = '/assets/uplot/uPlot.esm.js'

/** Loads the chart library. Rejects when the server does not have it. */
export async function loadLibrary(): Promise<Library> {
  const library: { readonly default: Library } = await import(libraryAddress)
  return library.default
}

/** A line over time in an element; it follows the element's size and the colours of the page. */
export class Chart {
  readonly #element: HTMLElement
  readonly #library: Library
  #plot: uPlot | undefined
  #label = ''
  #fromS = 0
  #toS = 1

  constructor(element: HTMLElement, library: Library) {
    this.#element = element
    this.#library = library
    new ResizeObserver(() => this.#resize()).observe(element)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#destroy())
  }

  show({ timesMs, values, fromMs, toMs, label }: ChartContent): void {
    this.#fromS = fromMs / 1000
    this.#toS = toMs / 1000
    const data: uPlot.AlignedData = [timesMs.map(ms => ms / 1000), [...values]]
    if (this.#plot === undefined || label !== this.#label) {
      this.#destroy()
      this.#label = label
      this.#plot = new this.#library(this.#options(), data, this.#element)
    } else this.#plot.setData(data)
  }

  #destroy(): void {
    this.#plot?.destroy()
    this.#plot = undefined
  }

  #resize(): void {
    this.#plot?.setSize(this.#size())
  }

  #size(): { readonly width: number; readonly height: number } {
    return { width: Math.max(200, this.#element.clientWidth), height: Math.max(120, this.#element.clientHeight) }
  }

  #options(): uPlot.Options {
    const style = getComputedStyle(this.#element)
    const colour = (name: string): string => style.getPropertyValue(name).trim()
    const font = `12px ${style.fontFamily}`
    const axis: uPlot.Axis = {
      stroke: colour('--quiet'),
      font,
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { stroke: colour('--line'), width: 1, size: 5 }
    }
    return {
      ...this.#size(),
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 8 } },
      scales: {
        x: { time: true, range: () => [this.#fromS, this.#toS] },
        // a flat line in the middle, and some air above and below any other
        y: { range: (_plot, low, high) => spread(low, high) }
      },
      axes: [
        { ...axis, space: 70 },
        { ...axis, size: 62, values: (_plot, ticks) => ticks.map(formatValue) }
      ],
      series: [
        {},
        {
          label: this.#label,
          stroke: colour('--accent'),
          fill: colour('--accent-fill'),
          width: 2,
          points: { show: (plot, _series, first, last) => last - first < 40 && plot.width > 0, size: 5, fill: colour('--accent') }
        }
      ]
    }
  }
}

function spread(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]
  const air = (high - low) * 0.12 || Math.abs(high) * 0.05 || 1
  return [low - air, high + air]
}
