import type { Point } from '../telemetry.ts'
import type { InfluxConnection } from './influx-connection.ts'
import { LineEncoder } from './influx-lines.ts'
import type { RejectedPoint } from './port.ts'

interface Line {
  readonly point: Point
  readonly text: string
}

export interface InfluxWriterOptions {
  /** Requests in flight at most. Default 2. */
  readonly concurrency?: number
  /** Lines in one request at most. Default 5,000. */
  readonly requestLines?: number
  /** Characters in one request at most, unless one line is longer. Default 4 Mi. */
  readonly requestLength?: number
}

/** Values that are encoded before the event loop turns. */
const valuesPerTurn = 4000

/**
 * Brings points to the server: up to `concurrency` requests at once, never two that hold the same device. Lines that are
 * refused together are halved until the bad ones are alone, which takes at most twice as many requests as there are lines.
 */
export class InfluxWriter {
  readonly #connection: InfluxConnection
  readonly #encoder = new LineEncoder()
  readonly #concurrency: number
  readonly #requestLines: number
  readonly #requestLength: number

  constructor(connection: InfluxConnection, options: InfluxWriterOptions = {}) {
    this.#connection = connection
    this.#concurrency = options.concurrency ?? 2
    this.#requestLines = options.requestLines ?? 5000
    this.#requestLength = options.requestLength ?? 4 * 1024 ** 2
  }

  /**
   * Stores points; answers those that the server will never take, in the order they came in.
   * @throws TidegateError TG_STORE_UNAVAILABLE or TG_STORE_REFUSED, when no request is in flight any more
   */
  async write(points: readonly Point[]): Promise<readonly RejectedPoint[]> {
    const reasons = new Map<Point, string>()
    const lanes = await this.#lanes(points, reasons)
    const results = await Promise.allSettled(lanes.map(async lane => await this.#sendLane(lane, reasons)))
    for (const result of results) if (result.status === 'rejected') throw result.reason
    if (reasons.size === 0) return []
    return points.flatMap(point => {
      const reason = reasons.get(point)
      return reason === undefined ? [] : [{ point, reason }]
    })
  }

  /** Spreads the lines over as many lanes as may be in flight; the points of a device are all in one. */
  async #lanes(points: readonly Point[], reasons: Map<Point, string>): Promise<readonly (readonly Line[])[]> {
    const lanes = Array.from({ length: this.#concurrency }, (): Line[] => [])
    const laneOf = new Map<string, Line[]>()
    let values = 0
    for (const point of points) {
      values += point.fields.length
      if (values > valuesPerTurn) {
        await new Promise(resolve => setImmediate(resolve))
        values = 0
      }
      const encoded = this.#encoder.encode(point)
      if (encoded.line === undefined) {
        reasons.set(point, encoded.reason)
        continue
      }
      let lane = laneOf.get(point.source.device)
      if (lane === undefined) {
        lane = lanes.reduce((shortest, one) => (one.length < shortest.length ? one : shortest))
        laneOf.set(point.source.device, lane)
      }
      lane.push({ point, text: encoded.line })
    }
    return lanes.filter(lane => lane.length > 0)
  }

  async #sendLane(lane: readonly Line[], reasons: Map<Point, string>): Promise<void> {
    for (let from = 0; from < lane.length;) {
      let end = from
      let length = 0
      for (; end < lane.length && end - from < this.#requestLines; end += 1) {
        length += (lane[end]?.text.length ?? 0) + 1
        if (length > this.#requestLength && end > from) break
      }
      await this.#send(lane.slice(from, end), reasons)
      from = end
    }
  }

  async #send(lines: readonly Line[], reasons: Map<Point, string>): Promise<void> {
    const refusal = await this.#connection.send(lines.map(line => line.text).join('\n'))
    if (refusal === undefined) return
    if (lines.length === 1 || refusal.dropped === lines.length) {
      for (const { point } of lines) reasons.set(point, refusal.reason)
      return
    }
    const middle = lines.length >> 1
    await this.#send(lines.slice(0, middle), reasons)
    await this.#send(lines.slice(middle), reasons)
  }
}
