/**
 * Which device sends which of its readings when: start number n belongs to device n mod devices and is its reading
 * ⌊n / devices⌋. Event times follow from the schedule alone, so a reading can be made again from its device and number.
 */
export interface Timetable {
  readonly devices: number
  /** Messages a second of all devices together, at most 1,000 a device, so that a device's times differ by a ms at least. */
  readonly rate: number
  /** Event time of the first reading, ms since 1970. */
  readonly startMs: number
}

export function placeOf(table: Timetable, index: number): { readonly device: number; readonly seq: number } {
  return { device: index % table.devices, seq: Math.floor(index / table.devices) }
}

/** Event time of a reading in ms since 1970, strictly increasing for each device. */
export function timeOf(table: Timetable, device: number, seq: number): number {
  return table.startMs + Math.floor(((seq * table.devices + device) * 1000) / table.rate)
}

/** How many readings a device has when there are `total` starts. */
export function readingsOf(table: Timetable, device: number, total: number): number {
  return Math.max(0, Math.ceil((total - device) / table.devices))
}
