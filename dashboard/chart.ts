import type uPlot from 'uplot'
import { formatTicks, formatTimeTick } from './format.ts'

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

/** Steps of the axis of time, in seconds. */
const timeSteps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800]

/** Of a digit in the font of the axes, and of the space right of the plot, in CSS pixels. */
const digitWidth = 7.2
const rightPadding = 12

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
  /** Called when the pointer moves to another point, or away. */
  onHover: (() => void) | undefined
  #label = ''
  #fromS = 0
  #toS = 1

  constructor(element: HTMLElement, library: Library) {
    this.#element = element
    this.#library = library
    new ResizeObserver(() => this.#resize()).observe(element)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#destroy())
  }

  /** Index of the point under the pointer. */
  get hovered(): number | undefined {
    return this.#plot?.cursor.idx ?? undefined
  }

  /** Shows nothing, until it is to show something again. */
  clear(): void {
    this.#destroy()
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
      padding: [8, rightPadding, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 8 }, drag: { x: false, y: false } },
      hooks: { setCursor: [() => this.onHover?.()] },
      scales: {
        x: { time: true, range: () => [this.#fromS, this.#toS] },
        // a flat line in the middle, and some air above and below any other
        y: { range: (_plot, low, high) => spread(low, high) }
      },
      axes: [
        {
          ...axis,
          incrs: timeSteps,
          space: (_plot, _axis, _low, _high, width) => (width < 420 ? 56 : 84),
          size: 32,
          values: (plot, ticks, _axis, _space, step) => ticks.map(tick => fitting(plot, tick, formatTimeTick(tick, step)))
        },
        {
          ...axis,
          size: (_plot, labels: readonly string[] | null) => 18 + digitWidth * Math.max(3, ...(labels ?? []).map(label => label.length)),
          values: (_plot, ticks, _axis, _space, step) => formatTicks(ticks, step)
        }
      ],
      series: [
        {},
        {
          label: this.#label,
          stroke: colour('--accent'),
          fill: plot => fade(plot, colour('--accent-fill'), colour('--accent-none')),
          width: 2,
          points: { show: (plot, _series, first, last) => last - first < 40 && plot.width > 0, size: 5, fill: colour('--accent') }
        }
      ]
    }
  }
}

/** The label of a tick, or nothing where it would be cut off at the right. */
function fitting(plot: uPlot, tick: number, label: string): string {
  return plot.valToPos(tick, 'x') + (label.length * digitWidth) / 2 > plot.over.clientWidth + rightPadding ? '' : label
}

/** Strongest at the line and nothing at the bottom, which is rarely zero. */
function fade(plot: uPlot, strong: string, none: string): CanvasGradient {
  const { top, height } = plot.bbox
  const gradient = plot.ctx.createLinearGradient(0, top, 0, top + Math.max(1, height))
  gradient.addColorStop(0, strong)
  gradient.addColorStop(1, none)
  return gradient
}

function spread(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]
  const air = (high - low) * 0.12 || Math.abs(high) * 0.05 || 1
  return [low - air, high + air]
}
