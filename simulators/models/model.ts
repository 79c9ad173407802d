/** The values of one reading. Numbers are finite and already rounded to what the device would send. */
export type Fields = Readonly<Record<string, number | boolean | string>>

/** A kind of device: what it measures and how that goes through a day. */
export interface DeviceModel {
  /** Short name, part of device ids. */
  readonly kind: string
  readonly description: string
  /**
   * A device of this kind. The function that it returns gives the fields at a minute of simulated time (0 is midnight of
   * the first day); the same seed and minute give the same fields, in whatever order they are asked for.
   */
  build(seed: number): (minute: number) => Fields
}

/** Rounds to a number of decimals; never answers −0. */
export function round(value: number, decimals: number): number {
  const scale = 10 ** decimals
  return Math.round(value * scale) / scale + 0
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value))
}
